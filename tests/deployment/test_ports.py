"""Tests of ports that are held for a server."""

import socket
import sys
from contextlib import closing

import pytest

from bench_orchestrator.deployment.home import HOST, DeploymentError, port_answers
from bench_orchestrator.deployment.ports import HeldPort


def test_a_held_port_serves_its_server_again_and_again() -> None:
    with closing(HeldPort()) as port:
        assert not port_answers(port.number)
        for _ in range(2):
            with socket.create_server((HOST, port.number)):
                assert port_answers(port.number)
            assert not port_answers(port.number)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port can be held")
def test_a_held_port_is_given_to_nobody_else() -> None:
    with closing(HeldPort()) as port, socket.socket() as other:
        with pytest.raises(OSError, match="in use"):
            other.bind((HOST, port.number))
        with closing(HeldPort(port.number)):  # one that asks for it by its number, as a server would
            pass
    with socket.socket() as other:
        other.bind((HOST, port.number))


def test_a_port_that_is_listened_on_cannot_be_held() -> None:
    with socket.create_server((HOST, 0)) as server, pytest.raises(DeploymentError, match="in use"):
        HeldPort(server.getsockname()[1])
