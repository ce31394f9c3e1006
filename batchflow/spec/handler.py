"""`handler`, and its older name `predictor`: spec/cortex.md section 1, P/H."""

from __future__ import annotations

from typing import Any, Final

from batchflow.spec.compute import parse_compute, refuse_larger_than
from batchflow.spec.fields import Field, Fields
from batchflow.spec.model import Compute, Dependencies, Handler
from batchflow.spec.naming import env_map, project_path
from batchflow.spec.quantity import quantity

__all__ = ["parse_handler"]

_TYPES: Final = ("python", "tensorflow")
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
        tensorflow_serving_image=_serving_image(fields, type_),
        env=env_map(fields.get("env"), reserved=_RESERVED_ENV),
        log_level=log_level.one_of(_LOG_LEVELS) if log_level else "info",
        shm_size=_shm_size(fields.get("shm_size"), compute),
        dependencies=_dependencies(fields.get("dependencies")),
        models=_models(fields, type_),
        compute=compute,
    )
    for key in ("processes_per_replica", "threads_per_process"):
        if fields.integer(key, 1) != 1:
            raise fields.place.at(key).error("must be 1 for BatchAPI kind", hint="raise the job's workers instead")
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


def _serving_image(fields: Fields, type_: str) -> str | None:
    if type_ != "tensorflow":
        fields.refuse("tensorflow_serving_image", f"tensorflow_serving_image is not supported for the {type_} type")
    return fields.optional_string("tensorflow_serving_image")


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


def _models(fields: Fields, type_: str) -> dict[str, Any] | None:
    """As written; exactly one of `path`, `paths` and `dir`."""
    if type_ != "tensorflow":
        fields.refuse("models", f"models is not supported for the {type_} type", hint="load the model in __init__")
        return None
    field = fields.need("models")
    models = field.fields()
    for key in ("cache_size", "disk_cache_size"):
        models.refuse(key, _UNSUPPORTED.format(key))
    models.exactly_one_of("path", "paths", "dir")
    models.optional_string("path")
    models.optional_string("dir")
    models.optional_string("signature_key")
    _model_paths(models.get("paths"))
    models.finish()
    return field.mapping()


def _model_paths(field: Field | None) -> None:
    names: set[str] = set()
    for element in field.elements(least=1) if field else ():
        model = element.fields()
        name = model.need("name")
        if name.text() in names:
            raise name.error(f'"{name.text()}" is there twice')
        names.add(name.text())
        model.need("path").text()
        model.optional_string("signature_key")
        model.finish()
