"""The first error of work beside other work comes out as it was raised."""

import asyncio

import pytest

from tower_rl.together import together


async def fail():
    raise RuntimeError("outer") from ZeroDivisionError("inner")


@pytest.mark.parametrize("where", ["task", "body"])
def test_the_cause_of_an_error_stays(where):
    async def work():
        async with together() as tasks:
            if where == "task":
                tasks.create_task(fail())
                await asyncio.sleep(60)
            await fail()

    with pytest.raises(RuntimeError, match=r"^outer$") as raised:
        asyncio.run(work())
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
