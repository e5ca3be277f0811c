"""Every field of every experiment, with its unit and its source; the defaults live only here.

The values are Detectron2's PointRend on Mask R-CNN R50-FPN, 1x schedule (projects/PointRend,
configs/Base-RCNN-FPN.yaml). An experiment is a file beside this one that changes a few of them.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "base"
    config.seed = 0
    # "instance": objects with boxes and masks | "semantic": a class for every pixel | "refine":
    # masks of others made sharper, of objects of any class (docs/refine.md); num_classes is 1
    config.task = "instance"
    # Foreground classes; checked against the category names of the data set.
    config.num_classes = 80

    config.init = init = ConfigDict()
    # "" = random; "efficientnet_lite0" (1, 2) = the ImageNet weights of the `pretrained` extra; a
    # published model by the name of its config, as "pointrend_rcnn_r50_fpn_3x_coco"; a weights file
    # (Detectron2, torchvision), its detectron2:// or https:// address, or a run's work directory.
    init.weights = ""
    # Modules that keep their random values although the weights have them, such as
    # "box_head/classifier": predictors, when the classes differ.
    init.reset = ()
    # Tensors of the file, or how their names begin, that the model has no use for; any other that
    # it does not know is an error.
    init.ignore = ()

    config.data = data = ConfigDict()
    # "coco": a COCO-format folder; "lvis": LVIS's annotations beside COCO's images;
    # "cocofied_lvis": of them the categories that COCO has, under their COCO ids (AP*);
    # "id_masks": photos with an image of numbered objects each, as Penn-Fudan is published (here
    # the annotations are a folder, and class_names may name the class);
    # "cityscapes" and "camvid": the official folder or its zip files; "tfds": record files that
    # `prepare` wrote, here or gs://; "embedded": drawn here, no download
    data.source = "coco"
    data.dir = "data/coco"  # the folder; relative to the current directory
    # For weights that come without a data set: "coco" | "cityscapes" | "cityscapes_semantic" |
    # "camvid": its class names, or "" and the names themselves, by class index; () = none known.
    data.categories = ""
    data.class_names = ()
    data.train_images = "train2017"  # relative to data.dir
    data.train_annotations = "annotations/instances_train2017.json"
    data.eval_images = "val2017"
    data.eval_annotations = "annotations/instances_val2017.json"
    # Share of the training images that the evaluation has in place of files of its own, chosen by
    # their names and the seed; 0 = it has its own. Not for record files.
    data.held_out = 0.0
    data.held_out_seed = 0
    # What the pixels of every image are. Photos are 3 channels of "uint8": of any file that Pillow
    # opens, made RGB. Others are read as they were stored (docs/more_than_rgb.md).
    data.channels = 3  # 1 to 13
    data.dtype = "uint8"  # "uint8" | "uint16" | "float32"
    # The values of black and of white, such as (0.0, 4095.0) of a camera of 12 bits; () = (0, 255)
    # of uint8, others must say theirs.
    data.value_range = ()
    # The places of red, green and blue among the channels, from 0 on; () = (0, 1, 2) of three
    # channels, none of others. These alone are what is shown, and what color_augmentation changes.
    data.rgb_channels = ()
    # Of each channel over the training images, in the files' own values, as `inspect` measures
    # them; () = as the backbone's weights expect photos, with value_range in the place of 0..255.
    data.channel_mean = ()
    data.channel_std = ()
    # Prepared record files; "" = $POINTREND_JAX_CACHE or ~/.cache/pointrend_jax.
    data.cache_dir = ""
    # Images without annotations: dropped when True (Detectron2), negatives when False.
    data.filter_empty_annotations = True
    # Share of the training images; those of a category in fewer of them are repeated (LVIS: 0.001,
    # Gupta et al. 2019, appendix B.2); 0 = off.
    data.repeat_threshold = 0.0
    data.train_min_sizes = (640, 672, 704, 736, 768, 800)  # px, shorter edge, one drawn an image
    data.eval_min_size = 800  # px, shorter edge
    data.max_size = 1333  # px, longer edge, training and evaluation
    data.flip_probability = 0.5
    # "masks" | "points": what the mask head of an instance model learns from; labelled points of
    # objects ("point_coords", "point_labels") need no masks.
    data.supervision = "masks"
    # Labelled points of an object in a step, drawn anew each epoch (Cheng et al. 2022: 5 of 10);
    # 0 = all.
    data.points_per_step = 0
    # (height, width) canvases, multiples of 32; an image goes to the smallest that holds it. Of a
    # refiner one square, which every crop is brought to.
    data.buckets = ((800, 1088), (1088, 800), (800, 1344), (1344, 800))
    data.num_threads = 2  # reading and decoding threads a process
    # The share of the training records that may turn out unreadable: each is named, and another
    # image of its batch takes its place. More are an error.
    data.max_broken_share = 0.001
    # Semantic training: every image is resized (to train_min_sizes, train_max_size), cropped,
    # coloured and flipped; crops are the only canvas.
    data.train_max_size = 4096  # px, longer edge
    data.crop_hw = (512, 1024)  # px, multiples of 32
    # A crop in which one class covers more of the labelled pixels is drawn again, 10 times at most.
    data.crop_max_category_area = 1.0
    data.color_augmentation = False  # brightness, contrast, saturation, hue, as SSD

    data.embedded = embedded = ConfigDict()
    embedded.image_size = 256  # px, square
    embedded.num_train = 600  # images
    embedded.num_eval = 120  # images
    embedded.max_objects = 4  # an image
    embedded.seed = 0

    config.model = model = ConfigDict()
    # resnet18 | resnet34 | resnet50 | resnet101 | resnext101_32x8d: pixels as the MSRA and FAIR
    # weights expect them; resnet{18,34,50,101}_torchvision; resnet103, DeepLab's (the same pixels);
    # efficientnet_lite{0,1,2}
    model.backbone = "resnet50"
    model.freeze_at = 2  # stem and res2..res<freeze_at> are not trained; 0 trains all
    model.fpn_channels = 256
    # The stride of res5. 16 and 8 keep the resolution of res5 (and res4) and dilate it instead
    # (DeepLabV3).
    model.output_stride = 32
    model.multi_grid = (1, 1, 1)  # further dilation factors of the blocks of res5
    # "frozen": fixed statistics | "batch_norm": trained, statistics of the batch of all devices
    model.norm = "frozen"
    # "float32" (Detectron2) | "bfloat16": of maps, convolutions and matrix products. Parameters,
    # statistics, points, the last layer of each head and losses stay float32 (docs/precision.md).
    model.compute_dtype = "float32"
    # "pointrend" | "implicit": an MLP of its own for each instance | "conv": dense 4-conv 28x28.
    # Here and below, a backbone, a head, a sampler, a point loss or a source of data may also be
    # one of your own (docs/recipes.md).
    model.mask_head = "pointrend"

    model.rpn = rpn = ConfigDict()
    rpn.anchor_sizes = (32, 64, 128, 256, 512)  # px, one for each of p2..p6
    rpn.aspect_ratios = (0.5, 1.0, 2.0)  # height / width
    rpn.iou_thresholds = (0.3, 0.7)
    rpn.samples_per_image = 256
    rpn.positive_fraction = 0.5
    rpn.nms_threshold = 0.7
    rpn.pre_nms_topk_train = 2000  # a level
    rpn.pre_nms_topk_eval = 1000
    rpn.post_nms_topk_train = 1000  # an image
    rpn.post_nms_topk_eval = 1000

    model.box = box = ConfigDict()
    box.pooler_resolution = 7
    # 0 = adaptive and exact, ceil(roi / bins) samples, as Detectron2's checkpoints were trained.
    box.pooler_sampling_ratio = 0
    box.fc_dim = 1024
    box.samples_per_image = 512
    box.positive_fraction = 0.25
    box.iou_threshold = 0.5
    box.delta_weights = (10.0, 10.0, 5.0, 5.0)
    box.score_threshold = 0.05
    box.nms_threshold = 0.5
    box.detections_per_image = 100

    model.mask = mask = ConfigDict()
    mask.train_on_pred_boxes = True
    mask.coarse_pooler_resolution = 14
    mask.coarse_resolution = 7
    mask.coarse_fc_dim = 1024
    mask.coarse_num_fcs = 2
    mask.point_fc_dim = 256
    mask.point_num_fcs = 3
    mask.point_features = ("p2",)
    mask.coarse_each_layer = True  # the MLP sees the coarse prediction at every layer
    # This and the next two are not read where labelled points supervise (data.supervision).
    mask.train_num_points = 196  # 14 x 14
    mask.oversample_ratio = 3.0  # k
    mask.importance_sample_ratio = 0.75  # beta
    # "importance": beta of the points are the most uncertain of the candidates (pointrend)
    mask.sampler = "importance"
    mask.point_loss = "cross_entropy"  # sigmoid; at the points (pointrend, implicit)
    mask.subdivision_steps = 5  # 7 -> 224; implicit: from sqrt(subdivision_num_points) on
    mask.subdivision_num_points = 784  # 28 x 28
    mask.implicit_parameter_decay = 1e-5  # of the mean square of the predicted MLP parameters
    mask.conv_dim = 256  # channels of the convolutions of either mask head
    mask.conv_pooler_resolution = 14
    # Slots rendered at a time; bounds the memory of prediction (their coarse masks are predicted at
    # least 16 at a time). 0 = 4 on a CPU, whose caches hold so many, and 32 elsewhere.
    mask.detections_per_chunk = 0
    # Speed for quality: once a cell of a mask is smaller than so many pixels of the resized image,
    # it is upsampled instead of subdivided (docs/benchmarks.md). 0 = the paper's steps for all.
    mask.min_cell_px = 0.0

    model.semantic = semantic = ConfigDict()
    semantic.coarse_head = "semantic_fpn"  # "semantic_fpn" | "deeplabv3" | "deeplabv3plus"
    semantic.pointrend = True  # False: the coarse prediction, upsampled
    semantic.levels = ("p2", "p3", "p4", "p5")  # semantic_fpn; the first one's stride is its own
    semantic.conv_dim = 128  # semantic_fpn; ASPP and decoder of the others have aspp_dim
    semantic.norm = "group_norm"  # of the head: "group_norm" | "batch_norm" | "none"
    semantic.aspp_dim = 256
    semantic.aspp_dilations = (6, 12, 18)  # at output stride 16; twice that at 8
    semantic.aspp_dropout = 0.1
    # "image": over the whole image, as in DeepLabV3 | "crop": over windows of data.crop_hw, as in
    # Detectron2
    semantic.aspp_pool = "image"
    semantic.low_level_dim = 48  # deeplabv3plus: channels that res2 is projected to
    # "cross_entropy" | "hard_pixels": the mean over the hard_pixel_fraction of highest loss
    semantic.loss = "cross_entropy"
    semantic.hard_pixel_fraction = 0.2
    semantic.coarse_loss_weight = 1.0
    semantic.point_features = ("p2",)  # of p2..p5 (semantic_fpn) or res2..res5, concatenated
    semantic.point_fc_dim = 256
    semantic.point_num_fcs = 3
    semantic.coarse_each_layer = False  # True in the paper
    semantic.uncertainty = "logits"  # margin of the best two: "logits" | "probabilities" (paper)
    semantic.train_num_points = 2048
    semantic.oversample_ratio = 3.0  # k
    semantic.importance_sample_ratio = 0.75  # beta
    semantic.sampler = "importance"  # as of mask
    semantic.point_loss = "cross_entropy"  # softmax; at the points
    semantic.subdivision_steps = 2  # 4 -> 1 of the input's stride
    semantic.subdivision_num_points = 8192

    # What sharpens given masks; each is seen in a square crop around it.
    model.refine = refine = ConfigDict()
    refine.margin = 0.25  # on each side of the mask's box, of its longer side
    refine.least_side = 64  # px of the photo, of a crop
    refine.conv_dim = 72  # channels at stride 8; two thirds at 4, a third at 2; a multiple of 24
    refine.point_fc_dim = 64
    refine.point_num_fcs = 3
    refine.train_num_points = 1024  # a crop
    refine.oversample_ratio = 3.0  # k
    refine.importance_sample_ratio = 0.75  # beta
    refine.subdivision_steps = 3  # of a canvas of 192: 24 -> 192
    refine.subdivision_num_points = 4096
    # A mask stays as it is where its outline seems to be off by less, in px of the canvas.
    refine.keep_below = 3.0

    config.train = train = ConfigDict()
    train.steps = 90_000
    train.batch_size = 16  # images, all devices of all processes together
    # Images a step that the schedule below is for: rates, steps and the intervals of evaluations
    # and checkpoints (not log_every) are brought to batch_size by the linear rule. 0 = batch_size.
    train.reference_batch_size = 0
    # Parts of a device's images that are worked on one after the other; gradients are averaged.
    train.accumulate_steps = 1
    # Computes the blocks of the backbone again for the gradient instead of keeping what is in them:
    # less memory, more time (docs/precision.md).
    train.remat = False
    # "pmap" | "shard_map"; the same step. On a GPU, on a TPU, and where the step is deterministic,
    # the compiler is given options, which pmap does not take: both go by shard_map then.
    train.strategy = "pmap"
    # Two runs of a seed have the same bits on a GPU, at some cost (docs/training.md); a CPU
    # has them anyway.
    train.deterministic = False
    train.optimizer = "sgd"  # "sgd" with momentum | "adam", for which a rate is about 0.001
    train.learning_rate = 0.02
    train.momentum = 0.9  # of the gradient, with either
    train.weight_decay = 1e-4  # kernels and biases; norm parameters have none
    train.warmup_steps = 1000
    train.warmup_factor = 0.001
    train.schedule = "multistep"  # "multistep" | "poly": (1 - step / steps) ** poly_power
    train.milestones = (60_000, 80_000)  # steps; multistep
    train.gamma = 0.1
    train.poly_power = 0.9
    # (module, factor of the learning rate), such as ("coarse_head/aspp", 10.0)
    train.rate_multipliers = ()
    train.clip_gradient_norm = 0.0  # 0 = off, as in Detectron2
    train.log_every = 20  # steps
    train.eval_every = 5000  # steps; 0 = only at the end
    train.checkpoint_every = 5000  # steps; also at the end
    train.keep_checkpoints = 3  # the newest
    train.keep_every = 0  # steps; checkpoints of their multiples stay too; 0 = none
    # The score of the evaluations by which the best checkpoint is kept too. "" = rendered/mask_ap,
    # rendered/miou or rendered/boundary_iou
    train.best_metric = ""
    train.average_decay = 0.0  # of a moving average of the parameters, which is scored; 0 = none
    train.watchdog_minutes = 10.0  # without a finished step, until a line says so; 0 = never

    config.eval = evaluation = ConfigDict()
    evaluation.batch_size = 2  # images, all devices together
    # A share of the image diagonal (Boundary IoU): 0.02 for COCO and LVIS, 0.005 for Cityscapes.
    evaluation.boundary_dilation = 0.02
    evaluation.trimap_widths = (1, 2, 4, 8, 16)  # px around label boundaries (semantic)
    # Test-time augmentation; its scores stand beside the single-scale ones.
    evaluation.tta_scales = ()  # factors of eval_min_size, such as (0.75, 1.0, 1.25)
    evaluation.tta_flip = False
    return config
