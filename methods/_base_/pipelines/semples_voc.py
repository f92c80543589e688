# SemPLeS on VOC 2012 up to pseudo masks: WeakTr, its three trainings, CAMs. What segments comes behind.
_base_ = ["../datasets/voc.py", "../classifiers/semples_voc.py"]
custom_imports = ["methods.semples.model", "methods.weaktr", "methods.modules", "methods.converters"]

stages = dict(
    weaktr=_base_.weaktr_train,
    match=_base_.semples_match,
    prompts=_base_.semples_prompts,
    cam=_base_.semples_cam,
    cam_scores=_base_.weaktr_infer,
    seeds=dict(
        type="evaluate",
        split="train",
        scores="cam_scores",
        number="seed",
        threshold=0.43,  # WeakTr's: SemPLeS reports the best of the sweep alone
        sweep=dict(start=0.40, stop=0.59, step=0.01, stop_at_drop=True),
    ),
    # Without object masks; with them, see the README.
    pseudo=dict(
        type="refine",
        split="train_aug",
        scores="cam_scores",
        refiner=dict(type="CAMLabelCRF", background=0.43),
    ),
    pseudo_eval=dict(type="evaluate", split="train", masks="pseudo", number="pseudo"),
)
