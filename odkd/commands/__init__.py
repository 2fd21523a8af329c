"""The commands behind the console scripts, without `odkd-tables` and `odkd-figures`, which are in `report/tables/`."""
