"""The Dagster definitions of the meta location. They declare; other packages compute."""
