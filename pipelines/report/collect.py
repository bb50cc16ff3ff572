"""From the results of the steps to ReportData.

Every key is optional; a section without its keys is left out and listed as missing. A measured
number may be plain or {"value", "low", "high", "n"}. Files are named relative to the step's
directory.

prepare   name, digest, image_size [h, w], num_classes, classes [names], splits {name: n}, notes,
          num_broken or broken
pretrain  history [{images, loss, step?, loss_*?}], parameters, num_images, preset, seconds
distill   history [{images, loss, loss_*?}]: every key that starts with "loss" is a curve
sweep     metric (what distance means), split, points [{gflops, distance, label?, low?, high?}],
          pareto [indices into points], full_curve [{num_inference_steps, gflops, distance}],
          static_curve [{label, gflops, distance}], chosen {gflops, distance, label?}, num_trials.
          Without points, trials [{metrics {gflops, distance}, state}] are the points (those whose
          state is COMPLETE), and pareto indexes trials.
evaluate  rows [{name, role?, num_inference_steps?, fd_lite0?, kid?, fid?, psnr_db?, gflops?,
          gflops_full?, ms_p50?, ms_p95?, num_timings?, note?}], role one of teacher, student,
          untrained, reference; claims [{text, value, unit?, low?, high?, n?, command?, commit?}];
          neighbours {n, median_feature_distance, median_pixel_rmse, closer_than_held_out,
          num_held_out}; samples_file (a .npz written by samples_file.save_samples); commit,
          command: what a claim without its own is given
promote   name, version, promoted (bool), alias, reason, gates [{metric or name, passed, detail or
          reason, value?, op?, bound?}]
serve     url, ms_p50, version: shown as facts
"""
