# HSC with the CRF of its release on the pseudo masks (crf_t 8, crf_alpha 7). Which of the two kinds of masks
# the published segmentation network was trained on is not stated.
_base_ = "voc.py"
title = "HSC, CRF on pseudo masks"

stages = dict(
    pseudo=dict(
        refiner=dict(
            _delete_=True,
            type="CAMAlphaCRF",
            alpha=7,
            crf=dict(
                iterations=8,
                gaussian_sxy=3,
                gaussian_compat=3,
                bilateral_sxy=80,
                bilateral_srgb=13,
                bilateral_compat=10,
            ),
        )
    )
)
