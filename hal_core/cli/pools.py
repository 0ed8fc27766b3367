"""`hal cloud pools`, `plan`, `stop` and `resume`: what the daemon rents, what that costs, and the kill switch."""

from __future__ import annotations

from argparse import Namespace

from hal_core.cli.console import Console
from hal_core.cli.formats import duration, instant, money, pairs
from hal_core.cli.usage import UsageError
from hal_core.client.http import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ACTIONS = ("pools", "plan", "stop", "resume")


def run(console: Console, arguments: Namespace) -> int:
    action, pool = arguments.action, arguments.config
    if arguments.instances or arguments.all:
        raise UsageError(f"{action} takes the name of one pool")
    if arguments.release and action != "stop":
        raise UsageError(f"{action} takes no --release; it is for `hal cloud stop`")
    if action == "pools" and pool is None:
        return list_pools(console, arguments)
    if pool is None:
        raise UsageError(f"{action} needs the name of a pool; `hal cloud pools` lists them")
    path = f"/v1/pools/{quoted(pool)}"
    if action in ("pools", "plan"):
        answer = console.get(path if action == "pools" else f"{path}/plan")
    else:
        body = {"does_release": arguments.release} if action == "stop" else {}
        answer = console.post(f"{path}/{action}", body)
    if arguments.json:
        console.body(answer)
    elif action == "pools":
        show(console, answer.json())
    elif action == "plan":
        show_plan(console, answer.json()["actions"])
    else:
        console.line(f"pool {pool}: {state_text(answer.json())}")
    return 0


def list_pools(console: Console, arguments: Namespace) -> int:
    answer = console.get("/v1/pools")
    if arguments.json:
        console.body(answer)
        return 0
    rows = [
        (
            each["name"], each["cloud"], state_text(each), f"{each['count']}/{each['count_max']}",
            str(each["admitted_count"]),
            *(money(each[name]) for name in ("per_hour", "spent", "committed", "left", "forecast")), period(each),
        )
        for each in answer.json()["pools"]
    ]  # fmt: skip
    what = ("POOL", "CLOUD", "STATE", "INSTANCES", "ADMITTED")
    heads = (*what, "AN HOUR", "SPENT", "COMMITTED", "LEFT", "FORECAST", "PERIOD")
    console.table(heads, rows, (False, False, False, *[True] * 7, False))
    return 0


def show(console: Console, pool: dict[str, Any]) -> None:
    values = [
        ("Pool", pool["name"]),
        ("Cloud", pool["cloud"]),
        ("State", state_text(pool)),
        ("Accounts", ", ".join(pool["accounts"]) or "all"),
        ("Instances", f"{pool['count']}; {pool['count_min']} at least, {pool['count_max']} at most"),
        ("Admitted", f"{pool['admitted_count']} waiting jobs"),
        ("Spent", money(pool["spent"])),
        ("Committed", money(pool["committed"])),
        ("An hour", money(pool["per_hour"])),
        ("Forecast", f"{money(pool['forecast'])} by the end of the period" if pool["forecast"] is not None else "-"),
        (
            "Budget",
            f"{money(pool['budget'])}, {money(pool['left'])} left, {period(pool)}" if pool["budget"] else "none",
        ),
    ]
    for line in pairs(values):
        console.line(line)
    console.line("")
    if pool["account_budgets"]:
        budgets = [
            (each["account"], *(money(each[name]) for name in ("spent", "committed", "left", "budget")), period(each))
            for each in pool["account_budgets"]
        ]
        columns = ("ACCOUNT", "SPENT", "COMMITTED", "LEFT", "BUDGET", "PERIOD")
        console.table(columns, budgets, (False, *[True] * 4, False))
        console.line("")
    offers = [
        (
            each["name"], each["market"], f"{each['price_per_hour']:.4f}", f"{each['count']}/{each['count_max']}",
            duration(each["boot_s"]),
            "-" if each["closed_until_s"] is None else f"{instant(each['closed_until_s'])}: {each['closed_why']}",
        )
        for each in pool["offers"]
    ]  # fmt: skip
    console.table(
        ("OFFER", "MARKET", "PRICE/HOUR", "INSTANCES", "BOOT", "NOT BEFORE"), offers, (False, False, True, True, True)
    )
    if pool["instances"]:
        console.line("")
        instances = [
            (
                each["name"], each["node"] or "-", each["offer"], each["account"] or "-", each["state"],
                str(each["allocation_count"]),
                money(each["spent"]), instant(each["until_s"]), each["native_id"] or "-",
            )
            for each in pool["instances"]
        ]  # fmt: skip
        heads = ("INSTANCE", "NODE", "OFFER", "ACCOUNT", "STATE", "JOBS", "SPENT", "PAID UNTIL", "ID")
        console.table(heads, instances, (False, False, False, False, False, True, True, False, False))


def show_plan(console: Console, actions: list[dict[str, Any]]) -> None:
    if not actions:
        console.line("The pool would do nothing now.")
        return
    rows = [(each["action"], each["what"], each["reason"]) for each in actions]
    console.table(("NOW IT WOULD", "WHAT", "WHY"), rows)


def state_text(pool: dict[str, Any]) -> str:
    if not pool["is_stopped"]:
        return "renting"
    return f"stopped by {pool['stopped_by']}" if pool["stopped_by"] else "not in the configuration"


def period(pool: dict[str, Any]) -> str:
    if pool["budget"] is None:
        return "-"
    return "for ever" if pool["period_s"] is None else f"every {duration(pool['period_s'])}"
