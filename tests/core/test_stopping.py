"""A request to stop waits for a step, a second one does not."""

import os
import signal
import time

import pytest

from expunge.core import stopping


@pytest.fixture(autouse=True)
def interrupts_are_heard():
    """As in a shell: whoever starts the tests in the background may have told them to ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ask(number: int = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_of_a_training_it_stops_at_once(number, code):
    before = signal.getsignal(number)
    with pytest.raises(stopping.Stopped) as stopped, stopping.heeded():
        ask(number)
        pytest.fail("it went on")
    assert stopped.value.exit_code == code and isinstance(stopped.value, KeyboardInterrupt)
    assert signal.getsignal(number) is before and not stopping.asked()


def test_inside_it_waits_and_a_later_one_does_not(capfd):
    reached = []
    with pytest.raises(stopping.Stopped) as stopped, stopping.heeded(), stopping.deferred():
        ask()
        reached.append(stopping.asked())
        ask()  # a launcher that passes on what everybody got
        reached.append("same request")
        time.sleep(stopping.SAME_S + 0.1)
        ask(signal.SIGINT)
        reached.append("never")
    assert reached == [signal.SIGTERM, "same request"] and stopped.value.number == signal.SIGINT
    assert capfd.readouterr().err.count("stopping after this step") == 1


def test_what_nobody_saw_is_raised_at_the_end():
    reached = []
    with pytest.raises(stopping.Stopped), stopping.heeded():
        with stopping.deferred():
            with stopping.deferred():
                ask()
            reached.append("the outer one may still save")
        pytest.fail("it went on")
    assert reached


def test_without_heeding_python_does_as_always():
    with pytest.raises(KeyboardInterrupt) as raised, stopping.deferred():
        ask(signal.SIGINT)
    assert not isinstance(raised.value, stopping.Stopped)
