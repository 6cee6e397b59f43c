"""An engine whose pool holds a connection to a file."""

import os

from sqlalchemy import create_engine, text

ENGINE = create_engine(f"sqlite:///{os.environ['DAGSTER_HOME']}/module.db")
with ENGINE.begin() as connection:
    connection.execute(text("create table if not exists visits (number integer)"))


def look() -> dict[str, object]:
    with ENGINE.begin() as connection:
        connection.execute(text("insert into visits values (1)"))
        return {"visits": connection.execute(text("select count(*) from visits")).scalar_one()}
