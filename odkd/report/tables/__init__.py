"""Paper tables from the MLflow store: what is compared is a YAML file in specs/, what papers give is published.yaml.

`spec` reads the YAML, `wanted` finds the runs that have its settings, `cells` makes numbers of them, `commands`
says how to make what is missing, `render` and `latex` print, `command` is `odkd-tables`.
"""
