"""Other tools' and earlier versions' names for options, values and commands.

Only error messages read them: a name from lightly-train, timm, transformers or Lightning is not
accepted, but the error suggests our name for it.
"""

from collections.abc import Iterable

# each of our names, and its other names; `-` and `_` are equal here
ELSEWHERE = {
    # data and run
    "data": "data_dir dataset dataset_name train_file train_data input inputs",
    "out": "output output_dir out_dir save_dir logdir log_dir default_root_dir",
    "encoder": "model model_name model_name_or_path arch architecture backbone",
    "init_from": "start checkpoint pretrained weights initial_checkpoint resume_from_checkpoint "
    "model_checkpoint",
    "seed": "random_seed manual_seed rng_seed",
    "quiet": "silent disable_tqdm no_progress",
    "skip_broken": "ignore_errors skip_errors",
    # optimization
    "steps": "max_steps train_steps num_steps num_train_steps total_steps iterations",
    "epochs": "epoch max_epochs num_epochs num_train_epochs",
    "minutes": "max_time time_limit max_minutes",
    "batch_size": "batch bs b per_device_train_batch_size per_gpu_train_batch_size "
    "train_batch_size",
    "grad_accum_steps": "accumulate grad_accum gradient_accumulation gradient_accumulation_steps "
    "accumulate_grad_batches",
    "optimizer": "opt optim",
    "lr": "learning_rate base_lr blr peak_lr rate",
    "weight_decay": "wd decay",
    "warmup": "warmup_steps warmup_ratio warmup_epochs",
    "schedule": "scheduler sched lr_schedule lr_scheduler lr_scheduler_type",
    "adam_beta2": "beta2 opt_betas betas",
    "grad_clip": "clip clip_grad clip_norm max_grad_norm gradient_clip_val",
    # machine
    "devices": "gpus num_gpus num_devices nproc_per_node world_size",
    "device": "accelerator",
    "precision": "amp fp16 bf16 mixed_precision dtype amp_dtype",
    "compile": "torch_compile torchcompile",
    "cpu_threads": "threads num_threads torch_threads",
    "num_workers": "workers dataloader_num_workers jobs num_proc n_jobs",
    # checkpoints, logs and monitors
    "save_every": "save_steps save_interval checkpoint_every",
    "log_every": "log_steps logging_steps log_interval log_every_n_steps",
    "keep_last": "keep save_total_limit checkpoint_hist max_checkpoints",
    "keep_best": "best metric_for_best_model load_best_model_at_end monitor",
    "knn_every": "probe_every",
    "monitor_every": "health_every eval_steps eval_every eval_interval",
    "logger": "wandb loggers report_to log_wandb tensorboard",
    # images
    "image_size": "size img_size input_size resolution crop_size",
    "max_decode_size": "decode resize",
    "channels": "in_chans in_channels num_channels",
    "min_crop_scale": "crop min_scale crop_min_scale crop_scale rr_min_scale scale",
    "min_crop_side": "crop",
    "flip_prob": "flip hflip hf_prob horizontal_flip",
    "jitter_strength": "strength jitter color_jitter cj_strength",
    "blur_prob": "blur gaussian_blur",
    "grayscale_prob": "gray grayscale random_gray_scale",
    "proj_dim": "dim out_dim output_dim projection_dim code_dim final_dim",
    "proj_layers": "layers num_layers",
    "mask_ratio": "mask_share mask_prob",
    "images_per_identity": "per_identity",
    # text
    "max_length": "length max_seq_length max_seq_len seq_len block_size context_length",
    "mask_prob": "mask_share mlm_probability mask_ratio masking_ratio",
    "max_ngram": "longest",
    "whole_word_mask": "whole_words wwm",
    "val_fraction": "held_out val_split validation_split validation_split_percentage",
    "text_column": "field text_field text_column_name",
    "label_column": "label label_field label_column_name",
    "lowercase": "lower do_lower_case uncased",
    "vocab_size": "vocab vocabulary",
    "max_new_tokens": "tokens max_tokens num_tokens",
    # speech and discrete targets
    "targets": "units",
    "target_layer": "units_layer",
    "num_clusters": "clusters n_clusters k",
    "next_num_clusters": "next_clusters",
    "next_target_layer": "next_layer",
    "batch_seconds": "seconds max_tokens",
    "max_clip_seconds": "longest max_sample_size max_duration",
    "unmasked_weight": "alpha pred_nomask_weight",
    "feature_penalty": "penalty feature_pen loss_weights",
    # probes
    "labels_per_class": "labels num_labels shots",
    "supervised_baseline": "scratch from_scratch",
    "top_k": "top k topk",
    # values
    "float32": "fp32 32 32_true f32 full no highest",
    "bf16": "bf16_mixed bfloat16 bf16_true",
    "fp16": "16 16_mixed float16 half",
    "adamw": "adam adam_w adamw_torch",
    "constant": "constant_with_warmup",
    "cosine": "cosine_with_restarts cosineannealing",
    "auto": "gpu",
    # commands
    "pretrain": "train fit",
    "probe": "eval evaluate linear_probe",
    "embed": "encode features extract",
    "doctor": "info env environment",
    "glue": "run_glue",
    "methods": "list list_methods",
    "recipes": "list_recipes",
}


def find_equivalent(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that another tool calls `name`; None without one."""
    own = {_normalize(one): one for one in names}
    wanted = _normalize(name)
    for ours, elsewhere in ELSEWHERE.items():
        if ours in own and wanted in elsewhere.split():
            return own[ours]
    return None


def _normalize(name: str) -> str:
    return name.lstrip("-").replace("-", "_").lower()
