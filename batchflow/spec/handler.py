"""`handler`, and its older name `predictor`: spec/cortex.md section 1, P/H."""

from __future__ import annotations

import re
from typing import Any, Final

from batchflow.spec.compute import parse_compute, refuse_larger_than
from batchflow.spec.fields import Field, Fields
from batchflow.spec.model import Compute, Dependencies, Handler, Model, Models
from batchflow.spec.naming import env_map, project_path
from batchflow.spec.quantity import quantity

__all__ = ["MODEL_NAME", "SINGLE_MODEL", "parse_handler"]

SINGLE_MODEL: Final = "default"  # the name of the one that `models.path` gives
MODEL_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")  # it becomes a folder's name, and a part of a URL

_TYPES: Final = ("python", "tensorflow")
_S3_PATH: Final = re.compile(r"s3://[^/]+(/.*)?", re.DOTALL)
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_RESERVED_ENV: Final = ("CORTEX_",)
_UNSUPPORTED: Final = "{} key is not supported for BatchAPI kind"


def parse_handler(field: Field, compute_field: Field | None) -> tuple[Handler, tuple[str, ...] | None]:
    """A handler with its compute, and the node groups named there. `field` is at the key that the file used."""
    fields = field.fields()
    for key in ("protobuf_path", "server_side_batching", "multi_model_reloading"):
        fields.refuse(key, _UNSUPPORTED.format(key))
    type_ = _type(fields.need("type"))
    compute, node_groups = parse_compute(compute_field, container=False)
    log_level = fields.get("log_level")
    handler = Handler(
        key=field.key,
        type=type_,
        path=_code_path(fields.need("path")),
        config=_config(fields.get("config")),
        python_path=_python_path(fields.get("python_path")),
        image=fields.optional_string("image"),
        tensorflow_serving_image=_serving_image(fields, type_, compute),
        env=env_map(fields.get("env"), reserved=_RESERVED_ENV),
        log_level=log_level.one_of(_LOG_LEVELS) if log_level else "info",
        shm_size=_shm_size(fields.get("shm_size"), compute),
        dependencies=_dependencies(fields.get("dependencies")),
        models=_models(fields, type_),
        compute=compute,
    )
    for key in ("processes_per_replica", "threads_per_process"):
        if fields.integer(key, 1) != 1:
            fields.place.at(key).refuse("must be 1 for BatchAPI kind", hint="raise the job's workers instead")
    fields.finish()
    return handler, node_groups


def _type(field: Field) -> str:
    if field.value == "onnx":
        raise field.error("the onnx type is no longer supported", hint="use the python type, and load the model with onnxruntime there")
    return field.one_of(_TYPES)


def _code_path(field: Field) -> str:
    path = project_path(field)
    if not path.endswith((".py", ".pickle")):
        raise field.error(f'"{path}" must end with .py or .pickle')
    return path


def _config(field: Field | None) -> dict[str, Any]:
    return field.mapping() if field else {}


def _python_path(field: Field | None) -> str | None:
    if field is None:
        return None
    if field.text() == "." or field.text().startswith("./"):
        raise field.error(f'"{field.text()}" is not a path within the project', hint="leave it out for the project's own folder")
    return project_path(field)


def _serving_image(fields: Fields, type_: str, compute: Compute) -> str | None:
    if type_ != "tensorflow":
        fields.refuse("tensorflow_serving_image", f"tensorflow_serving_image is not supported for the {type_} type")
    image = fields.optional_string("tensorflow_serving_image")
    if type_ == "tensorflow" and compute.inf and image is None:
        raise fields.place.at("tensorflow_serving_image").error("must be defined for inf", hint="name one that is built for AWS Neuron")
    return image


def _shm_size(field: Field | None, compute: Compute) -> str | None:
    if field is None:
        return None
    size = quantity(field, least="1")
    refuse_larger_than(field, compute.mem, "compute.mem")
    return size


def _dependencies(field: Field | None) -> Dependencies:
    if field is None:
        return Dependencies()
    fields = field.fields()
    default = Dependencies()
    paths = {key: fields.get(key) for key in ("pip", "conda", "shell")}
    fields.finish()
    return Dependencies(**{key: project_path(path) if path else getattr(default, key) for key, path in paths.items()})


def _models(fields: Fields, type_: str) -> Models | None:
    """Exactly one of `path`, `paths` and `dir`."""
    if type_ != "tensorflow":
        fields.refuse("models", f"models is not supported for the {type_} type", hint="load the model in __init__")
        return None
    models = fields.need("models").fields()
    for key in ("cache_size", "disk_cache_size"):
        models.refuse(key, _UNSUPPORTED.format(key))
    chosen = models.exactly_one_of("path", "paths", "dir")
    signature = models.optional_string("signature_key")
    models.finish()
    if chosen.key == "paths":
        return Models(_listed(chosen, signature))
    path = _model_path(chosen)
    return Models(dir=path, signature_key=signature) if chosen.key == "dir" else Models((Model(SINGLE_MODEL, path, signature),))


def _listed(field: Field, signature: str | None) -> tuple[Model, ...]:
    listed: dict[str, Model] = {}
    for element in field.elements(least=1):
        fields = element.fields()
        name = fields.need("name")
        if not MODEL_NAME.fullmatch(name.text()):
            raise name.error(f'"{name.text()}" is not a valid name', hint="use letters, digits, underscores and dashes")
        if name.text() in listed:
            raise name.error(f'"{name.text()}" is there twice')
        path = _model_path(fields.need("path"))
        listed[name.text()] = Model(name.text(), path, fields.optional_string("signature_key") or signature)
        fields.finish()
    return tuple(listed.values())


def _model_path(field: Field) -> str:
    text = field.text()
    if _S3_PATH.fullmatch(text) or text.startswith(("/", "file://")):  # whether local paths are read is the store's to say
        return text
    if "://" in text:
        raise field.error(f'"{text}" is not a valid s3 path (e.g. s3://bucket/folder/)', kind="aws.invalid_s3_path")
    return project_path(field)
