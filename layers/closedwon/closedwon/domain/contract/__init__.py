"""The contract model: from the readings of a customer's opportunities to what it agreed to, at any instant. Pure.

`agreement` is the way in. What it is made of, in the order in which it is worked out:

    facts          what is kept of an opportunity's readings, and what they say together
    references     who names whom
    pieces         lines and contracts; to which product a part belongs
    linking        which deals make one contract, and what renews what
    contracts      dates, contract by contract, in the order of renewals
    cuts, renewals what ends what
    money          units and prices of one place in one contract, from moment to moment
    timeline       what stands in each slot, from moment to moment
    terms          what contracts say beside their lines
    judging        what does not fit within a contract; sharing: between contracts that meet in one slot
    faults         codes with facts, and the approvals that let something through
    standing       who makes way for whom; guards: nothing shrinks by accident; components: who is looked at again
    statuses       what each deal says, and why
    subscriptions  what a slot comes to in Stigg; charges: what it costs, and which deal each part comes from
    ended, grants  what nothing gives any more, and the credits that are granted once
    relatives      which deals are linked with each other
"""
