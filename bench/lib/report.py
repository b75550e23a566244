"""Results -> a table, JSON, one self-contained HTML page; and where the aims stand."""
import html
import statistics

TITLES = {
    "start_up": ("start-up of /bin/true", "ms"),
    "idle_memory": ("memory when idle (PSS of all host processes)", "MB"),
    "null_call": ("null system call (getppid)", "ns"),
    "clock_gettime": ("clock_gettime (vDSO)", "ns"),
    "cpu_loop": ("CPU loop, one iteration", "ns"),
    "page_touch": ("page touch, 4 KiB steps over 256 MiB", "ns"),
    "mmap_touch_munmap": ("mmap + touch 16 pages + munmap", "ns"),
    "fork_wait": ("fork + exit + wait", "ns"),
    "fork_exec_wait": ("fork + exec + wait", "ns"),
    "pipe_round_trip": ("pipe round trip", "ns"),
    "pread_64": ("pread 64 B, cached", "ns"),
    "pread_64k": ("pread 64 KiB, cached", "ns"),
    "open_close": ("open + close", "ns"),
    "stat": ("stat", "ns"),
    "create_write_unlink": ("create + write 4 KiB + unlink", "ns"),
}


def summary(values):
    """median, and the spread: half the range between the quartiles, relative to the median."""
    median = statistics.median(values)
    if len(values) < 3:
        spread = (max(values) - min(values)) / 2
    else:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        spread = (high - low) / 2
    return {"median": median, "spread": spread, "relative_spread": spread / median if median else 0.0, "values": values}


def human(value, unit):
    if unit == "ns":
        for limit, scale, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
            if value < limit:
                return f"{value / scale:.3g} {name}"
        return f"{value / 1e9:.3g} s"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def table(results, targets):
    """results: {metric: {target: summary or {"error": text}}}"""
    base = targets[0]
    width = max(len(TITLES.get(metric, (metric,))[0]) for metric in results) + 1
    lines = [" " * width + "".join(f"{target:>26}" for target in targets), " " * width + "".join(f"{'median ±spread ×' + base:>26}" for _ in targets)]
    for metric, by_target in results.items():
        title, unit = TITLES.get(metric, (metric, ""))
        line = f"{title:<{width}}"
        for target in targets:
            one = by_target.get(target)
            if one is None:
                cell = "-"
            elif "error" in one:
                cell = "failed"
            else:
                cell = f"{human(one['median'], unit)} ±{one['relative_spread'] * 100:.0f}%"
                reference = by_target.get(base)
                if target != base and reference and "median" in reference and reference["median"]:
                    cell += f" ×{one['median'] / reference['median']:.2f}"
            line += f"{cell:>26}"
        lines.append(line)
    return "\n".join(lines)


def check_aims(aims, results, target):
    """-> list of {aim, value, limit, met, text}; aims that were not measured have met None."""
    checked = []
    for aim in aims["aims"]:
        metric = aim["metric"]
        title, unit = TITLES.get(metric, (metric, ""))
        own = results.get(metric, {}).get(target, {})
        other_name = aim.get("relative_to") or aim.get("beyond")
        other = results.get(metric, {}).get(other_name, {}) if other_name else {}
        limit = aim["at_most"]
        what = f"× {aim['relative_to']}" if "relative_to" in aim else unit + (f" beyond {aim['beyond']}" if "beyond" in aim else "")
        if "median" not in own or (other_name and "median" not in other):
            checked.append({"metric": metric, "limit": limit, "value": None, "met": None, "text": f"{title}: not measured (aim ≤ {limit} {what})"})
            continue
        value = own["median"] / other["median"] if "relative_to" in aim else own["median"] - (other.get("median", 0.0) if "beyond" in aim else 0.0)
        met = value <= limit
        checked.append({"metric": metric, "limit": limit, "value": value, "met": met, "text": f"{title}: {value:.3g} {what}, aim ≤ {limit}: {'met' if met else 'MISSED'}"})
    return checked


def counts_lines(counts, names):
    lines = []
    for metric, by_event in counts.items():
        parts = [f"{by_event[event]:g} {names[event]}" for event in by_event if by_event[event]]
        lines.append(f"  {TITLES.get(metric, (metric,))[0]}: {', '.join(parts) if parts else 'nothing'}")
    return "\n".join(lines)


COLOURS = ["#8a8f98", "#4c8bd9", "#d98a3d", "#2f9e63", "#9a5bc4", "#c44f6b"]

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #1d2126; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.1em; margin: 1.6em 0 .3em }
table { border-collapse: collapse } td, th { padding: .2em .8em .2em 0; text-align: right; font-variant-numeric: tabular-nums } td:first-child, th:first-child { text-align: left }
.met { color: #1f7a48 } .missed { color: #b3261e; font-weight: 600 } .none { color: #777 } .small { color: #666; font-size: .87em }
svg text { font: 13px system-ui, sans-serif; fill: #1d2126 }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e3e5e8 } svg text { fill: #e3e5e8 } .met { color: #5fcf93 } .missed { color: #ff8a80 } .small { color: #9aa0a8 } }
"""


def chart(metric, by_target, targets, aim):
    """Horizontal bars on a linear scale from 0; the whisker is the spread; a dashed line is the aim."""
    unit = TITLES.get(metric, (metric, ""))[1]
    rows = [(target, by_target[target]) for target in targets if target in by_target]
    good = [one for _, one in rows if "median" in one]
    if not good:
        return "<p class=none>not measured</p>"
    limit = None
    if aim and aim["value"] is not None:
        reference = aim.get("reference")
        limit = aim["limit"] * reference if reference else aim["limit"]
    longest = max([one["median"] + one["spread"] for one in good] + ([limit] if limit else []))
    scale, row_height, left = 560 / longest if longest else 1, 26, 130
    parts = [f'<svg viewBox="0 0 900 {row_height * len(rows) + 6}" width="100%" role="img" aria-label="{html.escape(metric)}">']
    for index, (target, one) in enumerate(rows):
        y = index * row_height + 3
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{html.escape(target)}</text>')
        if "median" not in one:
            parts.append(f'<text x="{left}" y="{y + 15}">failed: {html.escape(one["error"][:90])}</text>')
            continue
        width, spread = one["median"] * scale, one["spread"] * scale
        parts.append(f'<rect x="{left}" y="{y}" width="{max(width, 1):.1f}" height="20" rx="2" fill="{COLOURS[targets.index(target) % len(COLOURS)]}"/>')
        parts.append(f'<line x1="{left + max(width - spread, 0):.1f}" x2="{left + width + spread:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="currentColor" stroke-width="1.5"/>')
        label = f'{human(one["median"], unit)} ±{one["relative_spread"] * 100:.0f} %'
        parts.append(f'<text x="{left + width + spread + 8:.1f}" y="{y + 15}">{label}</text>')
    if limit:
        x = left + limit * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{row_height * len(rows)}" stroke="#b3261e" stroke-dasharray="4 3"/>')
    return "".join(parts + ["</svg>"])


def html_page(document):
    results, targets, aims = document["results"], document["targets"], document["aims"]
    by_metric = {}
    for aim in aims:
        source = next((one for one in document["aims_file"]["aims"] if one["metric"] == aim["metric"]), {})
        reference = results.get(aim["metric"], {}).get(source.get("relative_to", ""), {}).get("median")
        by_metric[aim["metric"]] = dict(aim, reference=reference)
    out = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>kvmsbx benchmark</title><style>", STYLE, "</style>"]
    out.append(f"<h1>kvmsbx benchmark</h1><p class=small>{html.escape(document['machine'])} · {document['rounds']} rounds, interleaved · {html.escape(document['date'])} · {document['seconds']:.0f} s</p>")
    out.append("<p class=small>" + "<br>".join(f"{html.escape(name)}: {html.escape(text)}" for name, text in document["versions"].items()) + "</p>")
    if aims:
        out.append("<h2>Aims</h2><table><tr><th>metric<th>value<th>aim<th></tr>")
        for aim in aims:
            kind = "none" if aim["met"] is None else "met" if aim["met"] else "missed"
            word = {"none": "not measured", "met": "met", "missed": "missed"}[kind]
            value = "–" if aim["value"] is None else f"{aim['value']:.3g}"
            out.append(f"<tr><td>{html.escape(TITLES.get(aim['metric'], (aim['metric'],))[0])}<td>{value}<td>≤ {aim['limit']}<td class={kind}>{word}</tr>")
        out.append("</table>")
    for metric, by_target in results.items():
        title = TITLES.get(metric, (metric, ""))[0]
        out.append(f"<h2>{html.escape(title)}</h2>{chart(metric, by_target, targets, by_metric.get(metric))}")
        counts = document["kvm_counts"].get(metric)
        if counts:
            text = ", ".join(f"{counts[event]:g} {document['kvm_event_names'][event]}" for event in counts)
            out.append(f"<p class=small>KVM per operation: {html.escape(text)}</p>")
    memory = document.get("idle_processes", {})
    if memory:
        out.append("<h2>Idle memory by process</h2><table><tr><th>target<th>process<th>MB PSS</tr>")
        for target, processes in memory.items():
            for one in processes:
                out.append(f"<tr><td>{html.escape(target)}<td>{html.escape(one['process'])}<td>{one['mb']}</tr>")
        out.append("</table>")
    out.append("<p class=small>Bars: median of the rounds; whisker: half the distance between the quartiles; dashed line: the aim.</p></html>")
    return "".join(out)
