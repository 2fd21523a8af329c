"""MLflow: where runs would go, whether it answers, and whether its tables are those of the library."""

from __future__ import annotations

from collections.abc import Mapping

from odkd.commands.doctor.findings import Finding, Section


def check_tracking(address: str | None, environment: Mapping[str, str]) -> Section:
    """Ask MLflow at the address to which a run would go.

    Args:
        address: of MLflow; None = runs are not tracked.
        environment: that MLflow reads, too.
    """
    from odkd.common.optional import how_to_install, is_installed
    from odkd.runs.mlflow_client import without_password
    from odkd.runs.mlflow_health import ask_mlflow
    from odkd.runs.mlflow_place import URI, check_uri
    from odkd.runs.sync import brief

    if address is None:
        return Section([Finding("ok", "runs are not tracked (tracking=none)")])
    shown = without_password(address)
    if not is_installed("mlflow"):
        advice = f"{how_to_install('mlflow')}, or tracking=none: a run's folder is complete without it"
        return Section([Finding("broken", "MLflow is not installed, and runs are to go there", advice)])
    findings = []
    if environment.get(URI):
        findings.append(Finding("note", f"{URI} is set: runs go to {shown}"))
    try:
        check_uri("tracking.uri", address)
        found = ask_mlflow(address)
    except ValueError as error:
        return Section([*findings, Finding("broken", f"MLflow at {shown}: {error}")], {"address": shown})
    except Exception as error:  # MLflow's own, a database's, a connection's
        advice = "start the server, or name another with tracking.uri=; runs are kept, and odkd-sync sends them later"
        text = f"MLflow at {shown} cannot be reached: {brief(error)}"
        return Section([*findings, Finding("broken", text, advice)], {"address": shown})
    if not found["exists"]:
        text = f"MLflow {found['library']}: the first run creates {shown}"
    else:
        tables = f", its tables are those of this release ({found['revision']})" if "revision" in found else ""
        text = f"MLflow {found['library']}: {shown} answers, {found['experiments']} experiments{tables}"
    return Section([*findings, Finding("ok", text)], {"address": shown, **found})
