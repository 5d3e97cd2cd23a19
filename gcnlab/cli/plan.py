"""``plan``: what runs will cost, in the order that decides most claims first."""

import argparse
from collections.abc import Callable
from typing import Any

import pandas as pd

from gcnlab.analysis.priority import decisive_first
from gcnlab.cli.run import configs
from gcnlab.cli.showing import print_json
from gcnlab.experiments import plan
from gcnlab.experiments.config import PreTraining
from gcnlab.experiments.environment import device_name
from gcnlab.experiments.resources import chain
from gcnlab.report.session import Session

Hours = Callable[[plan.Need], tuple[float, float]]
GB = 1e9


def act(options: argparse.Namespace) -> None:
    session = Session(options.profile, options.seeds, data_root=options.data_root)
    runs = configs(options.tables, session)
    links = dict.fromkeys(link for run in runs for link in chain(run))
    needs = {link: plan.need(link, session.data_root) for link in links}
    cards: dict[str, Hours] = {card: lambda n, card=card: n.hours(card) for card in plan.CARDS}
    if options.measure:
        cards = {f"this machine ({device_name()})": _measured()}
    price = next(iter(cards.values()))
    order = decisive_first(session.profile, runs, session.seeds, lambda run: price(needs[run])[1])
    rows = [_row(needs[run], claims, cards) for run, claims in order.items()]
    ordered = [needs[run] for run in order]
    totals = {
        card: [plan.makespan(ordered, lambda n, i=i, of=of: of(n)[i], options.gpus) for i in (0, 1)]
        for card, of in cards.items()
    }
    if options.json:
        return print_json({"runs": rows, "gpus": options.gpus, "hours": totals})
    _print(rows, totals, options.gpus)


def _measured() -> Hours:
    """Hours from a step of each network, timed here; a forward pass takes a third of a step."""
    seconds = {}

    def hours(of: plan.Need) -> tuple[float, float]:
        run = of.run if isinstance(of.run, PreTraining) else of.run.training
        known = (plan.network(run), run.schedule.batch_size)
        if known not in seconds:
            seconds[known] = plan.measured_step(run)
        forward = of.forward / run.schedule.batch_size / (1 + plan.BACKWARD)
        return ((of.steps + forward) * seconds[known] / 3600,) * 2

    return hours


def _row(of: plan.Need, claims: list[int], cards: dict[str, Hours]) -> dict[str, Any]:
    return {
        "run": of.run.name, "steps": of.steps, "epochs": round(of.epochs, 1), "images": of.images,
        "multiply_adds": of.network.multiply_adds, "memory": of.memory, "disk": of.disk,
        "hours": {card: price(of) for card, price in cards.items()}, "completes": claims,
    }  # fmt: skip


def _span(low: float, high: float) -> str:
    ends = [f"{value:,.{1 if high >= 1 else 3}f}" for value in (low, high)]
    return "–".join(dict.fromkeys(ends))


def _print(rows: list[dict], totals: dict[str, list[float]], gpus: int) -> None:
    frame = pd.DataFrame(rows)
    shown = frame[["run", "steps", "epochs", "images"]].assign(**{
        "G multiply-adds": frame["multiply_adds"] / 1e9,
        "GB memory": frame["memory"] / GB,
        "GB disk": frame["disk"] / GB,
        **{f"h, {card}": [_span(*hours[card]) for hours in frame["hours"]] for card in totals},
        "completes claims": [", ".join(map(str, claims)) for claims in frame["completes"]],
    })  # fmt: skip
    print(shown.round(2).to_string(index=False))
    steps, disk = frame["steps"].sum(), frame["disk"].sum() / GB
    print(f"\n{len(rows)} runs, {steps:,} steps, {disk:.1f} GB of disk without checkpoints")
    for card, span in totals.items():
        total = [sum(hours[card][end] for hours in frame["hours"]) for end in (0, 1)]
        together = f"; {gpus} at a time are done after {_span(*span)} h" * (gpus > 1)
        print(f"{card}: {_span(*total)} h of work{together}")
        if card in plan.CARDS:
            print(f"  An estimate, not measured for these networks. {plan.CARDS[card]['source']}")
    print("Multiply-adds: forward, of one training image. Memory: at least, in float32.")
