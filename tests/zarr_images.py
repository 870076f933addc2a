"""OME-Zarr images as other programs write them, for tests."""

import zarr


def write_image(path, values, axes, *, version="0.5", unit="micrometer", scale=0.5):
    """Writes an image and returns its folder."""
    kinds = {"t": "time", "c": "channel"}
    described = [{"name": name, "type": kinds.get(name, "space")} for name in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    scales = [scale if name in "yx" else 1.0 for name in axes]
    steps = [{"type": "scale", "scale": scales}, {"type": "translation", "translation": [0.0] * len(axes)}]
    multiscale = {"axes": described, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    if version == "0.5":
        attributes = {"ome": {"version": "0.5", "multiscales": [multiscale]}}
    else:
        attributes = {"multiscales": [{"version": "0.4", **multiscale}]}
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2, attributes=attributes)
    group.create_array("0", data=values, chunks=(1,) * (values.ndim - 2) + (8, 8))
    return path
