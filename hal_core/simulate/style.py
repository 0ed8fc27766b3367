"""The style sheet of the report: quiet, readable in print, light or dark as the reader has it."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1c1f24;--soft:#5b626d;--faint:#8b929c;--line:#e4e6e9;
--zero:#9aa1ab;--c0:#2f6fde;--c1:#d9730d;--c2:#0f9d74;--c3:#8b5cf6;--c4:#d6336c;--c5:#0b96b5;--c6:#7a9a01;--c7:#a1662f;
--w0:#a5d6b7;--w1:#f3dc8c;--w2:#f0b06a;--w3:#df7b60;--w4:#a8455e}
@media (prefers-color-scheme:dark){:root{--paper:#14161a;--card:#1b1e24;--ink:#e7e9ec;--soft:#a3aab5;--faint:#7b828d;
--line:#2c3038;--zero:#6b7280;--c0:#6ea3ff;--c1:#ffa657;--c2:#4fd1a5;--c3:#b79cff;--c4:#ff7aa8;--c5:#4ec7e0;--c6:#b5d243;
--c7:#d9a066;--w0:#3f8f6b;--w1:#b89b3c;--w2:#c07a3a;--w3:#b4533f;--w4:#8c3350}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-font-smoothing:antialiased}
main{max-width:1040px;margin:0 auto;padding:48px 24px 64px}
header{border-bottom:1px solid var(--line);padding-bottom:24px;margin-bottom:8px}
.over{margin:0;color:var(--c0);font-size:13px;font-weight:600;letter-spacing:.08em;text-transform:uppercase}
h1{font-size:34px;line-height:1.2;letter-spacing:-.02em;margin:4px 0 20px}
h2{font-size:23px;letter-spacing:-.01em;margin:44px 0 4px;overflow-wrap:anywhere}
h3{font-size:17px;margin:0}
section>h3{margin-top:36px}
h4{font-size:14px;margin:0;color:var(--soft);font-weight:600}
p{margin:4px 0 12px;color:var(--soft)}
dl{display:flex;flex-wrap:wrap;gap:8px 32px;margin:0}
dt{font-size:12px;color:var(--faint)}
dd{margin:0;font-size:15px}
.legend{display:flex;flex-wrap:wrap;gap:6px 20px;margin:16px 0 10px;font-size:14px;color:var(--ink)}
.legend span{display:inline-flex;align-items:center}
.key{width:12px;height:12px;border-radius:3px;margin-right:7px;background:currentColor}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:12px}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:10px 14px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--faint);font-weight:500;font-size:12.5px}
th:first-child{text-align:left}
tbody th{font-weight:600}
figure{margin:18px 0;padding:18px 18px 8px;background:var(--card);border:1px solid var(--line);border-radius:12px;
break-inside:avoid}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 12px;margin-bottom:8px}
figcaption p{margin:0;font-size:14px}
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}
.tick{fill:var(--soft)}
.faint{fill:var(--faint);font-size:11px}
.strong{font-weight:650}
.grid{stroke:var(--line)}
.axis{stroke:var(--faint)}
.zero{stroke:var(--zero);stroke-dasharray:3 3}
.line{fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round}
.area{fill:currentColor;opacity:.14}
.fill{fill:currentColor}
.whisker{stroke:currentColor;stroke-width:2;stroke-linecap:round}
.job{fill:currentColor;stroke:var(--card);stroke-width:.6}
.job:hover,.fill:hover{opacity:.75}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}.c5{color:var(--c5)}
.c6{color:var(--c6)}.c7{color:var(--c7)}
.w0{color:var(--w0)}.w1{color:var(--w1)}.w2{color:var(--w2)}.w3{color:var(--w3)}.w4{color:var(--w4)}
details{font-size:14px;margin:-6px 0 18px;color:var(--soft)}
summary{cursor:pointer}
footer{margin-top:48px;padding-top:16px;border-top:1px solid var(--line);font-size:13px;color:var(--faint)}
@media (max-width:640px){main{padding:24px 12px 40px}h1{font-size:26px}h2{font-size:20px}
figure{padding:12px 12px 4px;overflow-x:auto}svg{min-width:640px}}
@media print{body{background:#fff}main{padding:0}}
"""
