"""All experiments, in the order of the page."""

from steps import attention, calibration, cluster, lower_bounds, samplers, scaling, tensor, updates, windows

ALL = [calibration.CALIBRATION, calibration.AUDIT, updates.UPDATES, windows.WINDOWS, lower_bounds.SOFTMAX, lower_bounds.INDEX, tensor.TENSOR,
       attention.DRAWS, attention.STUDY, samplers.SAMPLERS, samplers.WORP, scaling.QUERIES, scaling.RANKS, cluster.CLUSTER]
