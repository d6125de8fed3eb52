"""Tables made of `results.json`, and nothing else: figures in documents are never typed.

    python -m tests.bench.tables

writes the tables between their marks in `tests/bench/README.md` and `README.md` again.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
ALL, SHORT = FOLDER / "README.md", FOLDER.parents[1] / "README.md"
"""Documents: one with every table, one with the short table."""
OURS = "akq-dist"
LOOPS = {"event loop": "compiled event loop", "inlined loop": "compiled loop for this strategy alone"}
LABELS = {
    "W1": "one asset, one pair of windows",
    "W2": "one asset, many pairs",
    "W3": "many assets, many pairs",
    "W3p": "assets that share their cash",
    "W4": "a Python callback that does nothing",
    "W4, reads and trades": "a Python callback",
}


def engine(found: Mapping[str, Any]) -> str:
    """The engine beside compiled loops and NumPy."""
    references = list(dict.fromkeys(name for row in found["rows"] for name in row["beside"]))
    single = {row["work"]: row["seconds"] for row in found["rows"] if row["threads"] == 1}
    rows = []
    for row in found["rows"]:
        beside = row["beside"]
        scaled = row["threads"] > 1 and row["work"] in single
        rows.append(
            (
                f"{row['work']}: {size(row)}",
                row["threads"],
                duration(row["seconds"]),
                f"{duration(row['spread'][0])} - {duration(row['spread'][1])}",
                duration(row["cpu"]),
                per_second(row["n_bars"] / row["seconds"]),
                per_second(row["n_backtests"] / row["seconds"]) if row["n_pairs"] else "",
                *(ratio(beside[name] / row["seconds"]) if name in beside else "" for name in references),
                ratio(single[row["work"]] / row["seconds"]) if scaled else "",
            )
        )
    head = ("work", "threads", "time", "from - to", "CPU", "bars/s", "backtests/s", *references, "one thread")
    lines = [
        measured(found["machine"]),
        f"Medians of {found['repeats']}. A ratio above 1 says how many times as fast the engine is as what heads the "
        "column; the last one is against itself on one thread.",
        table(head, rows, left=1),
    ]
    memory = found["memory"]
    if memory["above_mb"] is not None:
        lines.append(
            f"A batch of W3 takes {memory['above_mb']:,.0f} MB above its panel of {memory['panel_mb']:,.0f} MB."
        )
    return "\n\n".join(lines)


def peers(found: Mapping[str, Any]) -> str:
    """Other engines, work by work."""
    ours = {row["work"]: row["measured"] for row in found["rows"] if row["engine"] == OURS}
    rows: list[tuple[Any, ...]] = []
    for row in sorted(found["rows"], key=lambda row: list(ours).index(row["work"])):
        work = row["work"]
        if "reason" in row:
            rows.append((work, row["engine"], "", "", "", "", "", row["reason"]))
            continue
        got = row["measured"]
        own = row["engine"] == OURS
        equal = "" if own else row["differs"] or "equal"
        rows.append(
            (
                work,
                row["engine"],
                size(got),
                per_second(got["bars_s"]),
                per_second(got["backtests_s"]) if got["n_pairs"] else "",
                "" if own else ratio(ours[work]["bars_s"] / got["bars_s"]),
                f"{got['peak_mb']:,.0f} MB",
                equal,
            )
        )
    head = (
        "work",
        "engine",
        "of it",
        "bars/s",
        "backtests/s",
        "akq-dist is faster by",
        "peak memory",
        "result",
    )
    lines = [
        measured(found["machine"]),
        "One thread each, medians of up to five runs after one that does not count, memory of the whole process. "
        f"Results are equal when every final equity agrees to {found['tolerance']:.0e} and every number of trades is "
        "the same. How much faster is by bars, also where an engine was given a part of the work.",
        table(head, rows, left=3),
    ]
    return "\n\n".join(lines)


def record(found: Mapping[str, Any]) -> str:
    """Sweeps with everything recorded, beside what the tools do by themselves."""
    ours = {(row["sampler"], row["n_trials"]): row for row in found["rows"] if row["stack"] == OURS}
    rows: list[tuple[Any, ...]] = []
    for row in found["rows"]:
        if "reason" in row:
            rows.append((row["stack"], row["sampler"], f"{row['n_trials']:,}", row["reason"], "", "", ""))
            continue
        rate = row["n_trials"] / row["seconds"]
        like = ours.get((row["sampler"], row["n_trials"]))
        times = "" if row["stack"] == OURS or like is None else ratio(row["seconds"] / like["seconds"])
        rows.append(
            (
                row["stack"],
                row["sampler"],
                f"{row['n_trials']:,}",
                f"{rate:,.2f}" if rate < 10 else f"{rate:,.0f}",
                f"{row['cpu'] / row['n_trials'] * 1e3:.2f} ms",
                times,
                f"{row['n_trials'] / row['read']:,.0f}" if "read" in row else "",
            )
        )
    head = ("stack", "sampler", "trials", "trials/s", "CPU a trial", "akq-dist is faster by", "read back/s")
    parts = [measured(found["machine"]), table(head, rows, left=2)]
    if "copies" in found:
        parts.append(
            "Finished trials copied to Optuna's database alone, with ten parameters and twenty metrics:"
        )
        copied = [
            (
                row["way"],
                f"{row['n_trials']:,}",
                f"{row['n_trials'] / row['seconds']:,.0f}",
                f"{row['cpu'] / row['n_trials'] * 1e3:.2f} ms",
            )
            for row in found["copies"]
        ]
        parts.append(table(("copied", "trials", "trials/s", "CPU a trial"), copied, left=1))
    searched = [row for row in found["rows"] if "searches" in row]
    if searched:
        names = list(searched[0]["searches"])
        parts.append("The run list of MLflow, CPU of `search_runs`, which is what its UI sends:")
        parts.append(
            table(
                ("search", *(f"{row['n_trials']:,} runs" for row in searched)),
                [(name, *(duration(row["searches"][name]) for row in searched)) for name in names],
                left=1,
            )
        )
    return "\n\n".join(parts)


def scale(found: Mapping[str, Any]) -> str:
    """Large universes and wide spaces."""
    rows = [
        (
            row["work"],
            size(row),
            per_second(row["bars_s"]),
            per_second(row["backtests_s"]),
            *(
                "" if row[name] is None else f"{row[name]:,.0f} MB"
                for name in ("panel_mb", "opened_mb", "peak_mb")
            ),
        )
        for row in found["rows"]
    ]
    head = ("work", "size", "bars/s", "backtests/s", "panel", "once it is open", "at the peak")
    return "\n\n".join(
        [measured(found["machine"]), f"{found['threads']} threads.", table(head, rows, left=2)]
    )


def tpe(found: Mapping[str, Any]) -> str:
    """The batch TPE beside Optuna's."""

    def verdict(row: Mapping[str, Any]) -> str:
        if row["low"] > 0.5:
            return "better"
        if row["high"] < 0.5:
            return "worse"
        within = row["low"] > 0.5 - found["margin"] and row["high"] < 0.5 + found["margin"]
        return "equal" if within else "not told apart"

    rows = [
        (
            row["function"],
            row["seeds"],
            f"{row['batch']:.4g}",
            f"{row['optuna']:.4g}",
            f"{row['better']:.0%}",
            f"{row['low']:.0%} - {row['high']:.0%}",
            f"{row['p']:.2f}",
            verdict(row),
            duration(row["cpu_trial"]),
        )
        for row in found["rows"]
    ]
    head = (
        "function, parameters",
        "seeds",
        "batch TPE, median",
        "Optuna, median",
        "batch is better",
        "95 % of it",
        "p",
        "the batch is",
        "CPU a trial",
    )
    whole = found["together"]
    size = (
        f"Best value after {found['trials']} trials; equal: within {found['margin']:.0%} of a half. Over all "
        f"{whole['n_cases']} cases in groups the batch is better in {whole['better']:.1%} of the pairs "
        f"({whole['low']:.1%} - {whole['high']:.1%})."
    )
    costs = [
        (
            f"{row['trials']:,}",
            *(
                f"{row[name] * 1e3:.2f} ms" if name in row else ""
                for name in ("batch_16", "batch_1", "optuna_1")
            ),
            ratio(row["optuna_1"] / row["batch_16"]) if "optuna_1" in row else "",
        )
        for row in found["costs"]
    ]
    cost_head = (
        "trials in the study",
        "`ask_many`, groups of 16",
        "`ask`, one by one",
        "Optuna",
        "times as fast",
    )
    cost = (
        "CPU of a suggestion with ten parameters, told at once, with the trials of Optuna's in-memory study on both "
        "sides; the last column is that of groups:"
    )
    parts = [
        measured(found["machine"]),
        size,
        table(head, rows, left=1),
        cost,
        table(cost_head, costs, left=1),
    ]
    return "\n\n".join(parts)


def ray(found: Mapping[str, Any]) -> str:
    """The same sweep in one process and on Ray."""
    rows = [
        (
            name,
            duration(statistics.median(found[f"{key}_s"])),
            f"{duration(min(found[f'{key}_s']))} - {duration(max(found[f'{key}_s']))}",
            duration(statistics.median(found[f"{key}_outside_s"])),
            f"{statistics.median(found['serial_s']) / statistics.median(found[f'{key}_s']):.1%}",
        )
        for name, key in (("one process", "serial"), ("Ray, one worker", "ray"))
    ]
    head = ("executor", "time", "from - to", "outside of calls", "of the rate of one process")
    size = (
        f"{found['trials']:,} trials in calls of {found['batch']} ({duration(found['call_s'])}), {found['threads']} "
        f"threads a worker, medians of {len(found['ray_s'])}."
    )
    return "\n\n".join([measured(found["machine"]), size, table(head, rows, left=1)])


def short(sections: Mapping[str, Any]) -> str:
    """The table of the README: the engine on two threads, and what it is beside others."""
    rows = []
    others = {
        (row["work"], row["engine"]): row["measured"]
        for row in sections.get("peers", {"rows": []})["rows"]
        if "measured" in row
    }
    names = [name for name in dict.fromkeys(name for _, name in others) if name != OURS]
    best = {row["work"]: row for row in sections["engine"]["rows"]}
    for work, row in best.items():
        beside = row["beside"]
        own = others.get((work, OURS))
        rows.append(
            (
                f"{work}: {LABELS[work]}, {size(row)}",
                duration(row["seconds"]),
                speed(row),
                *(ratio(beside[loop] / row["seconds"]) if loop in beside else "" for loop in LOOPS),
                *(
                    ratio(own["bars_s"] / others[work, name]["bars_s"])
                    if own and (work, name) in others
                    else ""
                    for name in names
                ),
            )
        )
    threads = max(row["threads"] for row in best.values())
    head = ("work", "time", "rate", *LOOPS.values(), *names)
    parts = [
        measured(sections["engine"]["machine"]),
        f"Rules run on {threads} threads (W1 is one backtest: on one), callbacks on one. A ratio says how many times "
        "as fast as that the engine is: beside compiled loops on as many threads, beside other engines on one.",
        table(head, rows, left=1),
    ]
    if "record" in sections:
        parts.append(_short_record(sections["record"]))
    return "\n\n".join(parts)


def _short_record(found: Mapping[str, Any]) -> str:
    kept = [row for row in found["rows"] if "seconds" in row]
    own = [row for row in kept if row["stack"] == OURS]
    most = max(row["n_trials"] for row in own)
    rows = [(row["stack"], row["sampler"], row["n_trials"], row) for row in own if row["n_trials"] == most]
    rows += [(row["stack"], row["sampler"], row["n_trials"], row) for row in kept if row["stack"] != OURS]
    lines = [
        (
            stack,
            sampler,
            f"{n:,}",
            f"{n / row['seconds']:,.0f}" if n / row["seconds"] >= 10 else f"{n / row['seconds']:.2f}",
        )
        for stack, sampler, n, row in rows
    ]
    return "Trials a second until ledger, Optuna's database and MLflow hold everything:\n\n" + table(
        ("stack", "sampler", "trials", "trials/s"), lines, left=2
    )


def speed(row: Mapping[str, Any]) -> str:
    """Bars of one run a second, otherwise backtests."""
    single = row["n_pairs"] <= 1 and row["n_assets"] == 1
    return f"{per_second(row['n_bars' if single else 'n_backtests'] / row['seconds'])} {unit(row)}"


def unit(row: Mapping[str, Any]) -> str:
    if row["n_pairs"] == 0:
        return "calls/s"
    return "bars/s" if row["n_pairs"] == 1 and row["n_assets"] == 1 else "backtests/s"


def size(row: Mapping[str, Any]) -> str:
    assets = f"{row['n_assets']:,} x " if row["n_assets"] > 1 else ""
    pairs = f" x {row['n_pairs']:,}" if row["n_pairs"] > 1 else ""
    return f"{assets}{row['n_rows']:,} bars{pairs}"


def duration(seconds: float) -> str:
    if seconds >= 1.0:
        return f"{seconds:,.2f} s"
    return f"{seconds * 1e3:,.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:,.0f} ms"


def per_second(rate: float) -> str:
    if rate >= 1e6:
        return f"{rate / 1e6:,.1f} M"
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


def ratio(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def measured(machine: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Measured {machine['date']} on {machine['cpu']}, {machine['cores']} cores, {machine['system']}, "
        f"with a load of {machine['load']} before it began; {versions}."
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], left: int) -> str:
    """A Markdown table; the first `left` columns are text, the others figures."""
    marks = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (head, marks, *rows))


MAKERS = {"engine": engine, "peers": peers, "record": record, "scale": scale, "ray": ray, "tpe": tpe}


def documents(sections: Mapping[str, Any]) -> dict[Path, str]:
    """Both documents with the tables that the figures make."""
    text = ALL.read_text()
    for name, made in sections.items():
        text = replaced(text, name, MAKERS[name](made))
    texts = {ALL: text}
    if "engine" in sections:
        texts[SHORT] = replaced(SHORT.read_text(), "short", short(sections))
    return texts


def replaced(text: str, name: str, made: str) -> str:
    """The text with a table between its marks. Raises ValueError where the marks are missing."""
    first, last = f"<!-- table: {name} -->", f"<!-- end of table: {name} -->"
    before, found, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not (found and end):
        raise ValueError(f"no marks {first} and {last}")
    return f"{before}{first}\n{made}\n{last}{after}"


def kept() -> dict[str, Any]:
    """The figures of the last runs whose tables were written, by section."""
    sections: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    return sections


def write(new: Mapping[str, Any]) -> None:
    """Keep new figures beside those of the other sections, and write every table.

    Raises ValueError for figures of a debug build.
    """
    for name, section in new.items():
        if section["machine"]["profile"] != "release":
            raise ValueError(f"{name}: tables are made of figures of a release build")
    sections = {**kept(), **new}
    RESULTS.write_text(json.dumps(sections, indent=1) + "\n")
    for path, text in documents(sections).items():
        path.write_text(text)


if __name__ == "__main__":
    write({})
