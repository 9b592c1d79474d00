"""Prices of the embedded AWS: its Price List API and Spot price history. The prices are made up, of
each type by its size, so that tests can tell what a task has to cost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from .batch.capacity import instance_types
from .errors import ApiError
from .json_api import answered, operation_of
from .shapes import RequestModel

Environ = dict[str, Any]

VCPU_HOUR = 0.05
"""US dollars an hour for each vCPU of an instance."""
SPOT_SHARE = 0.4
"""A Spot instance's part of that."""
FARGATE = {
    "Fargate-vCPU-Hours:perCPU": 0.04,
    "Fargate-GB-Hours": 0.004,
    "Fargate-ARM-vCPU-Hours:perCPU": 0.03,
    "Fargate-ARM-GB-Hours": 0.003,
    "Fargate-EphemeralStorage-GB-Hours": 0.0001,
}
PAGE = 100
REGIONS = ("us-east-1", "eu-central-1", "ap-south-1")
"""Where the Price List API is (AWS General Reference, "AWS Price List endpoints")."""
_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"


def on_demand_price(instance_type: str) -> float | None:
    """US dollars an hour; ``None`` if there is no such type."""
    info = instance_types().get(instance_type)
    return None if info is None else float(info["VCpuInfo"]["DefaultVCpus"]) * VCPU_HOUR


class PriceList:
    """The Price List API: GetProducts of Fargate and of Linux instances."""

    def __init__(self) -> None:
        self._model = RequestModel("pricing", lambda text: ApiError("ValidationException", text))

    def answer(
        self, region: str, environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer a request."""
        operation = operation_of(environ)
        try:
            if region not in REGIONS:
                raise ApiError("NotFoundException", f"There is no price list in {region}.")
            if operation != "GetProducts":
                raise ApiError(
                    "InvalidParameterException", f"The embedded AWS does not have {operation}."
                )
            params = json.loads(environ["wsgi.input"].read() or b"{}")
            answer = self._products(self._model.check(operation, params))
        except ApiError as exn:
            body = {"__type": exn.code, "message": exn.message}
            return answered(exn.status, body, start_response)
        return answered(200, answer, start_response)

    def _products(self, params: Mapping[str, Any]) -> dict[str, Any]:
        wanted = {}
        for item in params.get("Filters", []):
            if item["Type"] != "TERM_MATCH":
                raise ApiError("InvalidParameterException", "The filter type is not supported.")
            wanted[item["Field"]] = item["Value"]
        service = params["ServiceCode"]
        if service == "AmazonECS":
            products = list(_fargate_products(wanted.get("regionCode", "us-east-1")))
        elif service == "AmazonEC2":
            products = list(_instance_products(wanted))
        else:
            raise ApiError("NotFoundException", f"There is no service {service}.")
        found = [
            product
            for product in products
            if all(product["product"]["attributes"].get(k) == v for k, v in wanted.items())
        ]
        start = int(params.get("NextToken") or 0)
        end = start + min(PAGE, params.get("MaxResults", PAGE))
        more = {"NextToken": str(end)} if end < len(found) else {}
        listed = [json.dumps(product) for product in found[start:end]]
        return {"FormatVersion": "aws_v1", "PriceList": listed, **more}


def spot_price_history(
    environ: Environ, region: str, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    """DescribeSpotPriceHistory: a price a type and zone, in force for ever."""
    query = parse_qs(environ["wsgi.input"].read().decode())
    types = [value for key, (value, *_) in query.items() if key.startswith("InstanceType.")]
    products = [v for key, (v, *_) in query.items() if key.startswith("ProductDescription.")]
    zone = query.get("AvailabilityZone", [""])[0]
    zones = [zone] if zone else [f"{region}{letter}" for letter in "abc"]
    moment = datetime(2026, 1, 1, tzinfo=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    items = []
    for name in types or sorted(instance_types()):
        price = on_demand_price(name)
        if price is None or (products and not any(p.startswith("Linux/UNIX") for p in products)):
            continue
        for place in zones:
            items.append(
                f"<item><instanceType>{escape(name)}</instanceType>"
                "<productDescription>Linux/UNIX</productDescription>"
                f"<spotPrice>{price * SPOT_SHARE:.6f}</spotPrice><timestamp>{moment}</timestamp>"
                f"<availabilityZone>{escape(place)}</availabilityZone></item>"
            )
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?><DescribeSpotPriceHistoryResponse'
        f' xmlns="{_NAMESPACE}"><requestId>{uuid.uuid4()}</requestId>'
        f"<spotPriceHistorySet>{''.join(items)}</spotPriceHistorySet><nextToken/>"
        "</DescribeSpotPriceHistoryResponse>"
    ).encode()
    headers = [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def _fargate_products(region: str) -> Iterable[dict[str, Any]]:
    for usage, price in FARGATE.items():
        attributes = {
            "servicecode": "AmazonECS",
            "regionCode": region,
            "usagetype": f"USE1-{usage}",
            "operation": "",
        }
        yield _product("Compute", attributes, "hours", price)


def _instance_products(wanted: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    names = [wanted["instanceType"]] if "instanceType" in wanted else sorted(instance_types())
    for name in names:
        price = on_demand_price(name)
        if price is None:
            continue
        for system, factor in (("Linux", 1.0), ("Windows", 1.9)):
            attributes = {
                "servicecode": "AmazonEC2",
                "regionCode": wanted.get("regionCode", "us-east-1"),
                "instanceType": name,
                "operatingSystem": system,
                "tenancy": "Shared",
                "preInstalledSw": "NA",
                "capacitystatus": "Used",
                "usagetype": f"BoxUsage:{name}",
            }
            yield _product("Compute Instance", attributes, "Hrs", price * factor)


def _product(family: str, attributes: Mapping[str, str], unit: str, price: float) -> dict[str, Any]:
    sku = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(attributes)).hex[:16].upper()
    dimension = {"unit": unit, "pricePerUnit": {"USD": f"{price:.10f}"}}
    term = {"priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension}, "sku": sku}
    return {
        "product": {"productFamily": family, "attributes": dict(attributes), "sku": sku},
        "serviceCode": attributes["servicecode"],
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": term}},
    }
