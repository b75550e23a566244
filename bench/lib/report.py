"""Results -> medians, ratios, a table for the terminal; and where the aims stand."""
import statistics

from metrics import HIGHER, METRICS, human


def summary(values):
    """median, and the spread: half the range between the quartiles, relative to the median."""
    median = statistics.median(values)
    if len(values) < 3:
        spread = (max(values) - min(values)) / 2
    else:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        spread = (high - low) / 2
    return {"median": median, "spread": spread, "relative_spread": spread / median if median else 0.0, "values": values}


def spread_text(one):
    return f"±{one['relative_spread'] * 100:.0f}%" if len(one["values"]) > 1 else "(once)"


def median_of(results, metric, target):
    return results.get(metric, {}).get(target, {}).get("median")


def ratio(results, metric, target, other):
    """target's median / other's, or None."""
    mine, reference = median_of(results, metric, target), median_of(results, metric, other)
    return mine / reference if mine is not None and reference else None


def all_ratios(results, targets):
    """{metric: {"TARGET/OTHER": ratio}} of all that were measured."""
    found = {metric: {f"{one}/{other}": ratio(results, metric, one, other) for one in targets for other in targets if one != other} for metric in results}
    return {metric: {pair: round(value, 4) for pair, value in pairs.items() if value is not None} for metric, pairs in found.items()}


def cell(one, unit, of_base, failures, where):
    """One target's field of the table; a failure becomes a number in brackets, explained below the table."""
    if one is None:
        return "-"
    if "error" in one:
        failures.append(f"{where}: {one['error']}")
        return f"no number [{len(failures)}]"
    return f"{human(one['median'], unit)} {spread_text(one)}" + (f" ×{of_base:.2f}" if of_base is not None else "")


def table(results, targets, notes, own):
    """Medians, and their ratio to the first target; for each target of `own` a column of its ratio to runsc."""
    base, failures, remarks, rows = targets[0], [], [], []
    against = [target for target in own if "runsc" in targets]
    for metric, by_target in results.items():
        entry = METRICS[metric]
        fields = [entry.title, entry.row_text() + (" ↑" if entry.better == HIGHER else " ↓")]
        for target in targets:
            text = cell(by_target.get(target), entry.unit, ratio(results, metric, target, base) if target != base else None, failures, f"{target}, {entry.title}")
            remark = notes.get((metric, target))
            if remark and "median" in by_target.get(target, {}):
                if remark not in remarks:
                    remarks.append(remark)
                text += " " + "*" * (remarks.index(remark) + 1)
            fields.append(text)
        for target in against:
            value = ratio(results, metric, target, "runsc")
            fields.append("-" if value is None else f"×{value:.2f}")
        rows.append(fields)
    header = ["", "unit", *targets] + [f"{target}/runsc" for target in against]
    below = ["", "", "median ±spread"] + [f"median ±spread ×{base}" for _ in targets[1:]] + [""] * len(against)
    lines = aligned([header, below] + rows)
    lines.append("↓ lower is better, ↑ higher is better; ×: this target's median divided by the other's")
    lines += ["*" * (index + 1) + " " + text for index, text in enumerate(remarks)]
    lines += [f"[{index + 1}] {text}" for index, text in enumerate(failures)]
    return "\n".join(lines)


def aligned(rows):
    """Columns as wide as their widest field; the first two to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(field.ljust(width) if index < 2 else field.rjust(width) for index, (field, width) in enumerate(zip(row, widths))).rstrip() for row in rows]


def expand(aims):
    """The aims with `*` written out: every time and rate that has no aim against the same target."""
    plain = [aim for aim in aims if aim["metric"] != "*"]
    taken = {(aim["metric"], aim.get("relative_to")) for aim in plain}
    for aim in aims:
        if aim["metric"] != "*":
            continue
        for name, metric in METRICS.items():
            if (name, aim["relative_to"]) in taken or metric.kind == "idle_memory":
                continue
            bound = {"at_least": 1 / aim["at_most"]} if metric.better == HIGHER else {"at_most": aim["at_most"]}
            plain.append({"metric": name, "relative_to": aim["relative_to"], **bound})
    return plain


def check_aim(aim, results, target, holds=True):
    """{metric, target, aim, value, met, text, line}: line is the limit in the metric's own unit; what was not measured has value and met None; of an aim that does not hold on this host, met is None."""
    entry = METRICS[aim["metric"]]
    own, other_name = median_of(results, aim["metric"], target), aim.get("relative_to") or aim.get("beyond")
    if "relative_to" in aim and other_name in METRICS:  # another metric of the same target
        other = median_of(results, other_name, target)
    else:
        other = median_of(results, aim["metric"], other_name) if other_name else None
    least = "at_least" in aim
    limit, sign = (aim["at_least"], "≥") if least else (aim["at_most"], "≤")
    what = f"× {aim['relative_to']}" if "relative_to" in aim else entry.unit + (f" beyond {aim['beyond']}" if "beyond" in aim else "")
    checked = {"metric": aim["metric"], "target": target, "aim": f"{sign} {limit:g} {what}", "value": None, "met": None, "line": None}
    if other is not None or not other_name:
        checked["line"] = limit * other if "relative_to" in aim else limit + (other or 0.0)
    if own is None or (other_name and other is None):
        checked["text"] = f"{entry.title}: not measured (aim {checked['aim']})"
        return checked
    value = own / other if "relative_to" in aim else own - (other or 0.0)
    met = (value >= limit if least else value <= limit) if holds else None
    word = {True: "met", False: "MISSED", None: "not checked on this host"}[met]
    return dict(checked, value=value, met=met, text=f"{entry.title}: {value:.3g} {what}, aim {sign} {limit:g}: {word}")


def holds_here(aims, host_null_call_ns):
    """Whether the aims of a platform are for a host like this."""
    return host_null_call_ns >= aims.get("host_null_call_ns", 0)


def host_text(aims, host_null_call_ns):
    """What is to be said about the host beside a platform's aims, or nothing."""
    if "host_null_call_ns" not in aims:
        return ""
    which = "" if holds_here(aims, host_null_call_ns) else "; not checked here"
    return f"for hosts whose own getppid takes {human(aims['host_null_call_ns'], 'ns')} of CPU time or more, this one's takes {human(host_null_call_ns, 'ns')}{which}"


def check_aims(platforms, results, targets, host_null_call_ns):
    """platforms: those of aims.json; targets: {target: its platform}. Of two targets with one platform the first counts."""
    checked = []
    for platform, aims in platforms.items():
        target = next((name for name, of in targets.items() if of == platform), None)
        if target:
            checked += [check_aim(aim, results, target, holds_here(aims, host_null_call_ns)) for aim in expand(aims["aims"])]
    return checked


def counts_lines(counts, names):
    lines = []
    for metric, by_event in counts.items():
        parts = [f"{by_event[event]:g} {names[event]}" for event in by_event if by_event[event]]
        lines.append(f"  {METRICS[metric].title}: {', '.join(parts) if parts else 'nothing'}")
    return "\n".join(lines)
