"""RabbitMQ's publisher confirms."""

from __future__ import annotations

from kombu import Connection
from kombu.exceptions import KombuError


class Confirms:
    """RabbitMQ's confirms of messages that are published on a channel: on disk, or with most of a quorum.

    The messages of a batch are confirmed together, so that each does not cost a trip.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.channel = connection.channel()
        self.channel.confirm_select()
        self.channel.events["basic_ack"].add(self._ack)
        self.channel.events["basic_nack"].add(self._nack)
        self._published = 0
        self._open: set[int] = set()
        self._refused = 0

    def expect(self) -> None:
        """Call before each message is published."""
        self._published += 1
        self._open.add(self._published)

    def wait(self) -> None:
        """Wait until each message is confirmed.

        :raises OSError: when one is not, in the connection's time
        :raises KombuError: when the broker refused one
        """
        while self._open:
            self._connection.drain_events()
        if self._refused:
            raise KombuError(f"{self._refused} messages were refused")

    def _ack(self, tag: int, multiple: bool) -> None:
        self._open -= {number for number in self._open if number <= tag} if multiple else {tag}

    def _nack(self, tag: int, multiple: bool) -> None:
        before = len(self._open)
        self._ack(tag, multiple)
        self._refused += before - len(self._open)
