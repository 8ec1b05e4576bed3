# The whole path: logs and pages in, a table and a report out. BIN: where expdb is installed.
set -eu
expdb="${BIN:-.venv/bin}/expdb"
export EXPDB_DB=runs/demo/expdb.db

say() { printf '\n$ %s\n' "$*"; }

rm -rf runs/demo
say expdb ingest examples/logs -e networks
"$expdb" ingest examples/logs -e networks
say expdb ingest examples/pages
"$expdb" ingest examples/pages
say "expdb compare -e networks --sort 'best(test/accuracy)'"
"$expdb" compare -e networks --sort 'best(test/accuracy)'
say "expdb compare -e '动物图片分类'"
"$expdb" compare -e '动物图片分类'
say expdb blame resnet18 test/accuracy 30
"$expdb" blame resnet18 test/accuracy 30

{
    printf '# Results\n\n## Networks\n\n'
    "$expdb" compare -e networks --sort 'best(test/accuracy)' --format md
    printf '\n## 动物图片分类\n\n'
    "$expdb" compare -e '动物图片分类' --format md
    printf '\n## Fusing the residual branch\n\n'
    "$expdb" compare -e 'Fusing the residual branch' --columns '配置, accuracy' --sort accuracy --format md
} >runs/demo/report.md
printf '\nThe report is runs/demo/report.md. Next:\n  export EXPDB_DB=%s\n  %s show resnet18\n' "$EXPDB_DB" "$expdb"
