"""Contract stories: a customer's deals on a clock, played through the product and Stigg's stand-in, without a stack.

`story.read` reads a story, `play.Play` plays it, `timeline` tells what stood when.
"""
