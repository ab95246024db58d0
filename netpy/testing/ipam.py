"""The suite that every address manager passes, the built-in one included. Does no I/O of its own.

Sets of prefixes are netaddr's here, which shares no code with what netpy allocates by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from ipaddress import ip_interface, ip_network
from typing import TypeVar

from netaddr import IPNetwork, IPSet

from netpy.drivers.addressing import AddressRequest, IpamDriver, IpamTraits, PoolGrant, PoolRequest
from netpy.errors import Exhausted, Forbidden, NetpyError
from netpy.model import Subnet
from netpy.testing.rules import Broken, is_a, pure, rule

T = TypeVar("T")
SMALL = "10.123.0.0/29"
_FIRST = "it is asked for the same thing by every network of every user"


class IpamContract:
    """What every IPAM driver has to do. Derive and define `driver`; override `subnet` where it cannot take any."""

    subnet = SMALL

    def driver(self) -> IpamDriver:
        """A new driver, with nothing given out."""
        raise NotImplementedError("define driver(): it gives a new IPAM driver of yours")

    def options(self) -> dict[str, str]:
        """The `--ipam-opt` that its requests need."""
        return {}

    # ---- what the suite uses -------------------------------------------------------------------------------------

    def pool(self, driver: IpamDriver, subnet: str = "", avoid: tuple[str, ...] = ()) -> Subnet:
        """A subnet that the driver grants, held to the rules."""
        request = PoolRequest(
            network_id="01" * 32, network="contract", family=4, subnet=subnet, avoid=avoid, options=self.options()
        )
        grant = self._asked(driver, "request_pool", lambda: driver.request_pool(request))
        rule(is_a(grant, PoolGrant), "request_pool answers no PoolGrant", "netpy has to know both names", grant)
        return Subnet(subnet=grant.subnet, gateway=grant.gateway, pool=grant.pool)

    def address(self, driver: IpamDriver, subnet: Subnet, taken: Collection[str] = (), address: str = "") -> str:
        """A bare address that the driver grants, held to the rules."""
        request = AddressRequest(
            network_id="01" * 32,
            subnet=subnet,
            address=address,
            mac="02:42:0a:7b:00:02",
            name="sandbox",
            taken=taken,
            options=self.options(),
        )
        answer = self._asked(driver, "request_address", lambda: driver.request_address(request))
        rule(is_a(answer, str), "request_address answers no text", "addresses are text", answer)
        bare = ip_interface(answer).ip
        rule(
            bare in ip_network(subnet.subnet),
            "an address is not in its pool",
            "nothing would answer to it",
            f"{bare} of {subnet.subnet}",
        )
        rule(not address or str(bare) == address, "another address than the one asked for", "the user said so", bare)
        return str(bare)

    # ---- the contract --------------------------------------------------------------------------------------------

    def test_it_is_an_ipam_driver_with_a_name(self) -> None:
        driver = self.driver()
        rule(is_a(driver, IpamDriver), "it lacks part of the IpamDriver protocol", "netpy calls all of it", driver)
        rule(
            driver.name == driver.name.lower() != "", "its name is empty or has capitals", "users type it", driver.name
        )
        rule(is_a(driver.traits, IpamTraits), "its traits are no IpamTraits", "the controller decides by them")
        for name, option in driver.options.items():
            rule(option.help, f"option {name} has no help", "users read it in --help-options")

    def test_it_gives_the_pool_that_was_asked_for(self) -> None:
        driver = self.driver()
        got = self.pool(driver, self.subnet).subnet
        rule(got == self.subnet, "another pool than the one asked for", "the user stated it with --subnet", got)

    def test_pools_are_canonical_and_do_not_overlap_what_is_to_be_avoided(self) -> None:
        driver = self.driver()
        given: list[str] = []
        for _ in range(3):
            subnet = self.pool(driver, avoid=tuple(given)).subnet
            canonical = str(IPNetwork(subnet).cidr) == subnet
            rule(canonical, "a pool is not in canonical form", "prefixes are compared as text", subnet)
            apart = IPSet(given).isdisjoint(IPSet([subnet]))
            rule(apart, "a pool overlaps one that was to be avoided", "packets would go astray", subnet)
            given.append(subnet)

    def test_no_address_is_given_twice(self) -> None:
        driver = self.driver()
        subnet = self.pool(driver, self.subnet)
        taken: list[str] = []
        for _ in range(3):
            got = self.address(driver, subnet, tuple(taken))
            rule(got not in taken, "an address is given twice", _FIRST, got)
            taken.append(got)

    def test_it_gives_the_address_that_was_asked_for(self) -> None:
        driver = self.driver()
        subnet = self.pool(driver, self.subnet)
        wanted = str(ip_network(subnet.subnet)[3])
        self.address(driver, subnet, address=wanted)

    def test_an_address_in_use_is_refused(self) -> None:
        driver = self.driver()
        subnet = self.pool(driver, self.subnet)
        wanted = str(ip_network(subnet.subnet)[3])
        self.address(driver, subnet, address=wanted)
        try:
            self.address(driver, subnet, (wanted,), address=wanted)
        except Broken as error:
            if not isinstance(error.__cause__, Forbidden):
                raise
            return
        raise Broken("an address in use is given again", "two containers would have it", wanted)

    def test_an_empty_pool_says_so(self) -> None:
        driver = self.driver()
        subnet = self.pool(driver, self.subnet)
        taken: list[str] = []
        try:
            for _ in range(ip_network(self.subnet).num_addresses + 1):
                taken.append(self.address(driver, subnet, tuple(taken)))
        except Broken as error:
            if not isinstance(error.__cause__, Exhausted):
                raise
            return
        raise Broken("an empty pool goes on giving", "the next subnet is tried only when one is Exhausted", taken[-1])

    def test_what_was_released_can_be_had_again_and_be_released_again(self) -> None:
        driver = self.driver()
        subnet = self.pool(driver, self.subnet)
        wanted = str(ip_network(subnet.subnet)[3])
        self.address(driver, subnet, address=wanted)
        for _ in range(2):
            self._released(driver, "release_address", lambda: driver.release_address(subnet.pool, wanted))
        self.address(driver, subnet, address=wanted)
        self._released(driver, "release_address", lambda: driver.release_address(subnet.pool, wanted))
        for _ in range(2):
            self._released(driver, "release_pool", lambda: driver.release_pool(subnet.pool))
        self.pool(driver, self.subnet)

    def test_a_pure_one_answers_by_the_request_alone(self) -> None:
        driver = self.driver()
        if driver.traits.pure:
            subnet = self.pool(driver, self.subnet)
            one, two = self.address(driver, subnet), self.address(driver, subnet)
            why = "it is never told of releases: what it remembers would only be wrong"
            rule(one == two, "the same request has two answers, though traits.pure is set", why, f"{one}, {two}")

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _asked(self, driver: IpamDriver, what: str, ask: Callable[[], T]) -> T:
        try:
            if not driver.traits.pure:
                return ask()
            with pure(what):
                return ask()
        except NetpyError as error:
            raise Broken(f"{what} refuses: {error}", "the contract asks for what it must give") from error
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"{what} raises {type(error).__name__}: {error}",
                "users get netpy.errors to read: Exhausted, Forbidden, InvalidArgument; all else is a fault of yours",
            ) from error

    def _released(self, driver: IpamDriver, what: str, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:
            raise Broken(
                f"{what} fails when there is nothing left to release",
                "it is called after a failure and after a crash",
                f"{type(error).__name__}: {error}",
            ) from error
