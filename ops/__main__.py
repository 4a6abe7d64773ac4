from ops.cli import main

main(prog_name="closedwon")  # else help would call it `python -m ops`
