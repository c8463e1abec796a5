"""How the report looks: one style sheet, light and dark, for a screen of any width."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #fcfcfa; --card: #f3f4f1; --ink: #1f2429; --soft: #5b6570; --line: #dcdfe3;
  --accent: #c2410c; --best: #ffedd9; --good: #0b7a43; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #14171b; --card: #1c2026; --ink: #e4e8ec; --soft: #98a3ae; --line: #2f363e;
    --accent: #ff9154; --best: #43301c; --good: #5cc98d; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
main { max-width: 70rem; margin: 0 auto; padding: 2.5rem 1.25rem 6rem; }
header h1 {
  margin: 0; font-size: clamp(1.7rem, 5vw, 2.6rem); letter-spacing: -.025em; line-height: 1.15;
}
header p { margin: .5rem 0 0; color: var(--soft); max-width: 48rem; }
nav { margin: 1.4rem 0 0; display: flex; flex-wrap: wrap; gap: .35rem .5rem; font-size: .86rem; }
nav a { padding: .15rem .7rem; border: 1px solid var(--line); border-radius: 1rem; }
a { color: inherit; text-decoration-color: var(--line); text-underline-offset: .2em; }
nav a { text-decoration: none; }
nav a:hover, a:hover { border-color: var(--accent); text-decoration-color: var(--accent); }
section { margin-top: 3.2rem; }
h2 { margin: 0 0 .6rem; font-size: 1.45rem; letter-spacing: -.015em; }
h3 { margin: 2rem 0 .4rem; font-size: 1.08rem; }
p, li { max-width: 48rem; }
.short {
  background: var(--card); border-left: 4px solid var(--accent); border-radius: .4rem;
  padding: 1.1rem 1.4rem;
}
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 1rem 1.5rem;
  margin: 0 0 1rem; padding-bottom: 1rem; border-bottom: 1px solid var(--line);
}
.tiles strong {
  display: block; font-size: 2rem; line-height: 1.2; letter-spacing: -.03em; color: var(--accent);
}
.tiles span, .tiles small { display: block; line-height: 1.35; }
.tiles small { color: var(--soft); margin-top: .2rem; }
.short ul { margin: 0; padding-left: 1.1rem; }
.short li { margin: .45rem 0; }
.note { color: var(--soft); font-size: .88rem; }
.warning {
  border: 1px solid var(--bad); border-radius: .4rem; padding: .55rem .9rem; font-size: .92rem;
}
.scroll { overflow-x: auto; margin: .8rem 0 1.4rem; }
table {
  border-collapse: separate; border-spacing: 0; font-size: .86rem;
  font-variant-numeric: tabular-nums;
}
caption { text-align: left; color: var(--soft); padding-bottom: .45rem; }
caption span {
  display: inline-block; position: sticky; left: 0; max-width: min(60rem, 100vw - 2.5rem);
}
th, td {
  padding: .32rem .65rem; text-align: right; white-space: nowrap; vertical-align: top;
  line-height: 1.3;
}
thead th { color: var(--soft); font-weight: 600; font-size: .8rem; }
thead th[colspan] { text-align: center; border-bottom: 1px solid var(--line); }
tbody th, tbody td { border-top: 1px solid var(--line); }
tbody th, thead th:first-child {
  text-align: left; position: sticky; left: 0; background: var(--page); font-weight: 500;
}
tbody th[colspan] { color: var(--soft); font-size: .8rem; font-weight: 600; padding-top: .9rem; }
td.text { text-align: left; white-space: normal; min-width: 16rem; }
td small { display: block; color: var(--soft); font-size: .73rem; font-weight: 400; }
td small.paper { font-style: italic; }
td.best { background: var(--best); font-weight: 700; }
td.worse { color: var(--bad); }
td.sure { color: var(--good); font-weight: 600; }
tr.ours th { color: var(--accent); font-weight: 700; }
.pictures {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
  gap: 1.2rem; margin: 1rem 0;
}
figure {
  margin: 0; padding: .9rem .9rem .5rem; background: var(--card); border-radius: .5rem;
  max-width: 44rem;
}
figcaption { font-size: .88rem; font-weight: 600; margin-bottom: .4rem; }
figure img { display: block; width: 100%; height: auto; max-width: 40rem; margin: 0 auto; }
details { margin: .8rem 0; border-top: 1px solid var(--line); }
summary { cursor: pointer; padding: .55rem 0; font-weight: 600; }
code {
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  overflow-wrap: anywhere;
}
footer {
  margin-top: 4rem; color: var(--soft); font-size: .85rem; border-top: 1px solid var(--line);
  padding-top: 1rem;
}
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 4rem; }
  th, td { padding: .3rem .45rem; }
  figure { padding: .7rem .5rem .3rem; }
}
@media print {
  nav { display: none; }
  figure, tr { break-inside: avoid; }
}
"""
