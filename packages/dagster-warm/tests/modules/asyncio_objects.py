"""Locks and queues of asyncio, without a loop."""

import asyncio

LIMIT = asyncio.Semaphore(2)


async def work(number: int) -> int:
    async with LIMIT:
        await asyncio.sleep(0)
        return number


async def work_all() -> list[int]:
    return await asyncio.gather(*(work(number) for number in range(5)))


def look() -> dict[str, object]:
    return {"numbers": asyncio.run(work_all())}
