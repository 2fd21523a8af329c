"""Paper tables from the MLflow store: specs/ defines the tables in YAML, published.yaml holds values from papers.

`spec` reads the YAML, `wanted` finds the runs with its settings, `cells` computes the numbers, `commands` lists the
commands of missing runs, `incomplete` reports problems, `render` and `latex` print, `command` is `odkd-tables`,
`figures` is `odkd-figures`.
"""
