"""The four stage types; each module has one entry point, `run(context) -> StageResult`."""
