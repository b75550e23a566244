"""The document of a run -> one self-contained HTML page."""
import html

from metrics import HIGHER, METRICS, NOTES, human
from report import ratio, spread_text

COLOURS = ["#8a8f98", "#4c8bd9", "#d98a3d", "#2f9e63", "#9a5bc4", "#c44f6b"]

STYLE = """
body { --paper: #fff; font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 66em; padding: 0 1em; color: #1d2126; background: var(--paper) }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin: 1.8em 0 .4em } h3 { font-size: 1em; margin: 1.5em 0 .2em } h3 small { font-weight: 400 }
table { border-collapse: collapse } td, th { padding: .2em .9em .2em 0; text-align: right; font-variant-numeric: tabular-nums; vertical-align: top } td:first-child, th:first-child { text-align: left }
td + td { white-space: nowrap } tr + tr td { border-top: 1px solid #8883 } .left { text-align: left }
.met { color: #1f7a48 } .missed { color: #b3261e; font-weight: 600 } .none { color: #777 } .small, small { color: #666; font-size: .87em } p { margin: .3em 0 }
svg { color: inherit } svg text { font: 13px system-ui, sans-serif; fill: currentColor; paint-order: stroke; stroke: var(--paper); stroke-width: 4px }
@media (prefers-color-scheme: dark) { body { --paper: #16181c; color: #e3e5e8 } .met { color: #5fcf93 } .missed { color: #ff8a80 } .small, small { color: #9aa0a8 } }
"""

LEFT, ROW, BARS, WIDTH = 130, 26, 560, 900  # of a chart, in its own units


def colour_of(target, targets):
    return COLOURS[targets.index(target) % len(COLOURS)] if target in targets else "#b3261e"


def bar(y, target, one, entry, scale, colour):
    """-> (its shapes, its texts): texts are drawn above the lines of the aims."""
    texts = [f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{html.escape(target)}</text>']
    if "median" not in one:
        return [], texts + [f'<text x="{LEFT}" y="{y + 15}">no number, see below</text>']
    width, spread = one["median"] * scale, one["spread"] * scale
    shapes = [f'<rect x="{LEFT}" y="{y}" width="{max(width, 1):.1f}" height="20" rx="2" fill="{colour}"/>']
    shapes.append(f'<line x1="{LEFT + max(width - spread, 0):.1f}" x2="{LEFT + width + spread:.1f}" y1="{y + 10}" y2="{y + 10}" stroke="currentColor" stroke-width="1.5"/>')
    label = f'{human(one["median"], entry.unit)} {spread_text(one)}'
    return shapes, texts + [f'<text x="{LEFT + width + spread + 8:.1f}" y="{y + 15}">{label}</text>']


def chart(metric, by_target, targets, limits):
    """Horizontal bars on a linear scale from 0; the whisker is the spread; dashed lines are the aims. limits: [(value, colour)]."""
    entry = METRICS[metric]
    rows = [(target, by_target[target]) for target in targets if target in by_target]
    good = [one for _, one in rows if "median" in one]
    if not good:
        return "<p class=none>not measured</p>"
    longest = max(one["median"] + one["spread"] for one in good)
    # An aim far to the right of all bars would make them unreadable.
    shown = [(limit, colour) for limit, colour in limits if limit <= 3 * longest]
    longest = max([longest] + [limit for limit, _ in shown])
    scale = BARS / longest if longest else 1
    parts = [f'<svg viewBox="0 0 {WIDTH} {ROW * len(rows) + 6}" width="100%" role="img" aria-label="{html.escape(entry.title)}">']
    texts = []
    for index, (target, one) in enumerate(rows):
        shapes, words = bar(index * ROW + 3, target, one, entry, scale, colour_of(target, targets))
        parts += shapes
        texts += words
    for limit, colour in shown:
        x = LEFT + limit * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{ROW * len(rows)}" stroke="{colour}" stroke-dasharray="4 3"/>')
    return "".join(parts + texts + ["</svg>"])


def aims_section(aims, remarks):
    measured = [aim for aim in aims if aim["value"] is not None]
    if not measured:
        return [f"<h2>Aims</h2><p class=small>None of the {len(aims)} aims for kvmsbx could be checked in this run. The dashed lines show where they are.</p>"]
    out = ["<h2>Aims</h2>"] + [f"<p class=small>{html.escape(target)}: {html.escape(text)}</p>" for target, text in remarks.items()]
    out.append("<table><tr><th>target<th class=left>metric<th>value<th>aim<th></tr>")
    for aim in measured:
        style, word = {True: ("met", "met"), False: ("missed", "missed"), None: ("none", "not checked")}[aim["met"]]
        out.append(f"<tr><td>{html.escape(aim['target'])}<td class=left>{html.escape(METRICS[aim['metric']].title)}<td>{aim['value']:.3g}<td>{html.escape(aim['aim'])}<td class={style}>{word}</tr>")
    return out + ["</table>"]


def ratios_section(results, targets):
    """Every measured metric: the base's median, and what the others are of it."""
    base = targets[0]
    pairs = [(target, base) for target in targets[1:]] + [(target, "runsc") for target in targets if target.startswith("kvmsbx") and "runsc" in targets]
    out = [f"<h2>Ratios</h2><table><tr><th>metric<th class=left>unit<th class=left>better<th>{html.escape(base)}" + "".join(f"<th>{html.escape(one)} / {html.escape(other)}" for one, other in pairs) + "</tr>"]
    for metric, by_target in results.items():
        entry = METRICS[metric]
        fields = [f"<td>{html.escape(entry.title)}<td class=left>{html.escape(entry.row_text())}<td class=left>{entry.better}"]
        fields.append("<td>" + (human(by_target[base]["median"], entry.unit) if "median" in by_target.get(base, {}) else "–"))
        for one, other in pairs:
            value = ratio(results, metric, one, other)
            fields.append("<td>–" if value is None else f"<td>{value:.2f}")
        out.append("<tr>" + "".join(fields) + "</tr>")
    return out + ["</table>"]


def metric_section(document, metric, by_target):
    entry = METRICS[metric]
    limits = [(aim["line"], colour_of(aim["target"], document["targets"])) for aim in document["aims"] if aim["metric"] == metric and aim["line"] is not None]
    arrow = "↑" if entry.better == HIGHER else "↓"
    out = [f"<h3>{html.escape(entry.title)} <small>{html.escape(entry.better_text())} {arrow}</small></h3>{chart(metric, by_target, document['targets'], limits)}"]
    for target, one in by_target.items():
        if "error" in one:
            out.append(f"<p class=small>{html.escape(target)} has no number: {html.escape(one['error'])}</p>")
        elif (metric, target) in NOTES:
            out.append(f"<p class=small>{html.escape(NOTES[metric, target])}</p>")
    counts = document["kvm_counts"].get(metric)
    if counts:
        text = ", ".join(f"{counts[event]:g} {document['kvm_event_names'][event]}" for event in counts)
        out.append(f"<p class=small>KVM per operation: {html.escape(text)}</p>")
    return out


def memory_section(by_target):
    out = ["<h2>Idle memory by process</h2><table><tr><th>target<th class=left>process<th>MB PSS</tr>"]
    for target, processes in by_target.items():
        out += [f"<tr><td>{html.escape(target)}<td class=left>{html.escape(one['process'])}<td>{one['mb']}</tr>" for one in processes]
    return out + ["</table>"]


def html_page(document):
    results, targets = document["results"], document["targets"]
    out = ["<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>kvmsbx benchmark</title><style>", STYLE, "</style>"]
    out.append(f"<h1>kvmsbx benchmark</h1><p class=small>{html.escape(document['machine'])} · {document['rounds']} rounds, interleaved · {html.escape(document['date'])} · {document['seconds']:.0f} s</p>")
    out.append("<p class=small>" + "<br>".join(f"{html.escape(name)}: {html.escape(text)}" for name, text in document["versions"].items()) + "</p>")
    out += [f"<p><strong>{html.escape(text)}</strong></p>" for text in document["left_out"]]
    out += aims_section(document["aims"], document["aims_remarks"]) + ratios_section(results, targets)
    out.append("<h2>Times, rates, memory</h2><p class=small>Bars: median of the rounds; whisker: half the distance between the quartiles; dashed line: an aim of the target of its colour.</p>")
    for metric, by_target in results.items():
        out += metric_section(document, metric, by_target)
    if document.get("idle_processes"):
        out += memory_section(document["idle_processes"])
    return "".join(out + ["</html>"])
