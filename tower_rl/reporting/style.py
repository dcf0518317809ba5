"""The style sheet of the report: light and dark, wide and narrow."""

STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1c1c1a; --soft: #6b6b66; --rule: #e3e3de;
  --good: #1a7f37; --bad: #c0362c; --warn: #9a6700;
  --c0: #2a6fdb; --c1: #e07b1f; --c2: #2e9e6b; --c3: #b54ec4; --c4: #c9a100; --c5: #d1495b; --c6: #12a0b5; --c7: #8a8a83; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161715; --card: #20211f; --ink: #ecece6; --soft: #a2a29a; --rule: #383935;
  --good: #56c271; --bad: #f0776c; --warn: #dcb04a;
  --c0: #6ea4f5; --c1: #f0a050; --c2: #5cc796; --c3: #d48be0; --c4: #dcc04a; --c5: #ee8593; --c6: #55c7d8; --c7: #a9a9a1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 20px 16px 48px; max-width: 1100px; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin: 32px 0 10px; }
h3 { font-size: .95rem; margin: 20px 0 8px; color: var(--soft); font-weight: 600; }
p { margin: 4px 0; } .soft { color: var(--soft); }
.status { display: inline-block; padding: 1px 10px; border-radius: 99px; font-size: .85rem; font-weight: 600;
  border: 1px solid currentColor; }
.finished { color: var(--good); } .failed { color: var(--bad); } .running, .stopped { color: var(--c0); }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(145px, 1fr)); margin: 16px 0; }
.tile, figure, .card, details { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.tile { padding: 10px 14px; }
.tile b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.charts { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
figure { margin: 0; padding: 10px 12px 6px; } figcaption { font-size: .9rem; line-height: 1.6; }
.key { display: inline-block; margin-left: 12px; color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 5px; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--rule); } polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; } .main { stroke-width: 2.6; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: 5px 10px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; } th:first-child, td:first-child { text-align: left; }
.up { color: var(--good); } .down { color: var(--bad); }
.card { padding: 10px 14px; margin: 0 0 10px; } .head { font-size: .85rem; color: var(--soft); overflow-wrap: anywhere; }
.head b { color: var(--ink); }
.warning { padding: 10px 14px; margin: 12px 0; background: var(--card); border: 1px solid var(--warn); border-left-width: 6px;
  border-radius: 10px; overflow-wrap: anywhere; } .warning b { color: var(--warn); }
.pair { display: grid; gap: 0 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
pre { margin: 6px 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace; }
.response { border-left: 3px solid var(--rule); padding-left: 10px; max-height: 22em; overflow-y: auto; }
details { padding: 8px 14px; margin: 10px 0; } summary { cursor: pointer; font-weight: 600; }
"""
