"""How pages look: colors for light, dark and paper, and the rules of style."""

from __future__ import annotations

LIGHT = {
    "page": "#ffffff",
    "panel": "#f4f6f8",
    "text": "#1b1f24",
    "muted": "#525c66",
    "line": "#c9d1d9",
    "accent": "#0b5cad",
    "error": "#b42318",
    "warning": "#8a4b00",
    "info": "#0b5cad",
    "good": "#116329",
    "bar": "#5b8fc7",
    "theory": "#a34a00",
    "band": "#dcebdd",
}
DARK = {
    "page": "#0f1318",
    "panel": "#181f27",
    "text": "#e6edf3",
    "muted": "#a3afbb",
    "line": "#36414d",
    "accent": "#7ab8ff",
    "error": "#ff9b92",
    "warning": "#f0b35b",
    "info": "#7ab8ff",
    "good": "#6fd08c",
    "bar": "#5f8fc4",
    "theory": "#f0b35b",
    "band": "#1f3527",
}
TEXTS = ("text", "muted", "accent", "error", "warning", "info", "good")
"""Colors that letters have, on ``page`` and on ``panel``."""
MARKS = ("bar", "theory", "accent", "error", "warning", "muted")
"""Colors of what is drawn."""


def _variables(colors: dict[str, str]) -> str:
    return "".join(f"--{name}:{color};" for name, color in colors.items())


_RULES = """
*{box-sizing:border-box}
body{margin:0 auto;max-width:75rem;padding:1rem;background:var(--page);color:var(--text);
font:1rem/1.5 system-ui,"Segoe UI",Roboto,"Noto Sans","PingFang SC","Microsoft YaHei",
"Noto Sans CJK SC",sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:0}p{margin:.35rem 0}
code,.n{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.875em}
.muted{color:var(--muted)}small{font-size:.8125rem}
.error{color:var(--error)}.warning{color:var(--warning)}.info{color:var(--info)}.good{color:var(--good)}
a{color:var(--accent)}:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.skip{position:absolute;left:-999rem}.skip:focus{position:static}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));
gap:.5rem;margin:.75rem 0;padding:0}
.facts>div{background:var(--panel);border-radius:.4rem;padding:.4rem .6rem}
.facts dt{color:var(--muted);font-size:.8125rem}.facts dd{margin:0}
table{border-collapse:collapse;width:100%}table.wide{table-layout:fixed}
.w-tensor{width:24%}.w-shape{width:8rem}.w-distribution{width:8.5rem}
caption{text-align:left;color:var(--muted);padding:.25rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;border-bottom:1px solid var(--line)}
thead th{position:sticky;top:0;background:var(--page);font-size:.8125rem;color:var(--muted)}
tbody th{font-weight:400}td.r,th.r{text-align:right;font-variant-numeric:tabular-nums}
tr[hidden],[data-search][hidden]{display:none!important}
.search{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center;margin:.5rem 0}
input::placeholder{color:var(--muted);opacity:1}
input[type=search]{font:inherit;flex:1 1 12rem;min-width:0;padding:.35rem .6rem;color:inherit;
background:var(--panel);border:1px solid var(--muted);border-radius:.4rem}
.law{margin-top:.2rem}.thin{fill-opacity:.3;stroke-width:1.5;vector-effect:non-scaling-stroke}
svg.h{width:7rem;height:1.6rem;display:block;overflow:visible}
.law small{display:flex;justify-content:space-between;width:7rem;color:var(--muted)}
figure{margin:0;max-width:44rem;background:var(--panel);border-radius:.5rem;padding:.75rem;min-width:0}
figure>svg{width:100%;height:auto;display:block;font-family:inherit}
figure .x,figure .x *{stroke-linejoin:round;stroke-linecap:butt}
figcaption{margin-bottom:.35rem}.pictures{display:grid;gap:1rem;
grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));align-items:start}
summary{cursor:pointer;color:var(--accent)}details table{font-size:.875rem}
.over{max-height:24rem;overflow:auto}
.cards{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));padding:0;
align-items:start}
.card{background:var(--panel);border-left:.35rem solid var(--muted);border-radius:.4rem;padding:.75rem;
min-width:0;list-style:none}
.card.error{border-color:var(--error);color:inherit}.card.warning{border-color:var(--warning);color:inherit}
.card.info{border-color:var(--info);color:inherit}
.tag{font-size:.8125rem;font-weight:600}.card.error .tag{color:var(--error)}
.card.warning .tag{color:var(--warning)}.card.info .tag{color:var(--info)}
pre{margin:.35rem 0;padding:.5rem;background:var(--page);border:1px solid var(--line);border-radius:.3rem;
white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8125rem}
svg.ruler{width:100%;height:auto;max-width:26rem;display:block}
svg text{fill:var(--text)}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.8125rem;color:var(--muted);
padding:0;margin:.25rem 0}
.key li{list-style:none}.key svg{width:1.2rem;height:.7rem;vertical-align:middle;margin-right:.3rem}
@media(max-width:44rem){
body{padding:.75rem}
table.wide,table.wide tbody,table.wide tr,table.wide th,table.wide td{display:block;width:100%}
table.wide thead{position:absolute;left:-999rem}
table.wide tr{border-bottom:1px solid var(--line);padding:.4rem 0}
table.wide th,table.wide td{border:0;padding:.1rem 0;text-align:left}
table.wide td[data-label]::before{content:attr(data-label) ": ";color:var(--muted);font-size:.8125rem}
table.wide td:empty{display:none}table.wide tbody th{font-weight:600}
th,td{padding:.25rem}}
@media print{:root{font-size:9pt}body{max-width:none;padding:0}.search,.skip{display:none!important}
.card,figure,tr{break-inside:avoid}h2{break-after:avoid}.over{max-height:none;overflow:visible}
thead th{position:static}.pictures,.cards{grid-template-columns:1fr 1fr}a{color:inherit}}
"""
# What matplotlib's shapes are given instead of colors.
_DRAWN = "".join(
    f".f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}svg text.f-{name}{{fill:var(--{name})}}"
    for name in LIGHT
)

STYLE = (
    f":root{{color-scheme:light dark;{_variables(LIGHT)}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}" + _RULES + _DRAWN
)
"""The style of every page: one text, so that a page can say its digest and allow no other."""
