# ruff: noqa: E501 - lines as long as the programs print them
"""Logs as well-known training programs print them, from their own format strings and numbers made up here."""

CIFAR_WIDTH, CIFAR_BAR = 160, 65.0


def falling(i: int, start: float = 2.3) -> float:
    """A loss."""
    return start / (1 + 0.25 * i)


def rising(i: int, end: float = 95.0) -> float:
    """An accuracy in percent."""
    return end * (1 - 1 / (i + 1.5))


def d2l() -> str:
    """d2l-zh's `train_ch5`, twice into one file."""
    one = "".join(
        f"epoch {e}, loss {falling(e):.4f}, train acc {rising(e) / 100:.3f}, "
        f"test acc {rising(e) / 102:.3f}, time {20 + e / 10:.1f} sec\n"
        for e in range(1, 9)
    )
    return "training on gpu(0)\n" + one + "training on gpu(0)\n" + one


def imagenet_old() -> str:
    """pytorch/examples imagenet, before AverageMeter had `__str__`."""
    out = "=> creating model 'resnet18'\n"
    for e in range(3):
        for i in range(0, 50, 10):
            n = e * 5 + i // 10
            out += (
                f"Epoch: [{e}][{i}/50]\tTime {0.5 + i / 100:.3f} (0.612)\tData {0.1:.3f} (0.120)\t"
                f"Loss {falling(n, 6.9):.4f} ({falling(n, 6.95):.4f})\tPrec@1 {rising(n):.3f} ({rising(n, 94):.3f})\t"
                f"Prec@5 {rising(n, 99):.3f} ({rising(n, 98):.3f})\n"
            )
        for i in range(0, 20, 10):
            out += (
                f"Test: [{i}/20]\tTime 1.200 (1.100)\tLoss {falling(e + i, 6):.4f} ({falling(e, 6):.4f})\t"
                f"Prec@1 {rising(e):.3f} ({rising(e, 90):.3f})\tPrec@5 {rising(e, 97):.3f} ({rising(e, 96):.3f})\n"
            )
        out += f" * Prec@1 {rising(e, 70):.3f} Prec@5 {rising(e, 90):.3f}\n"
    return out


def imagenet_new() -> str:
    """pytorch/examples imagenet with its ProgressMeter."""
    out = "=> creating model 'resnet18'\n"
    for e in range(3):
        for i in range(0, 391, 100):
            n = e * 4 + i // 100
            out += "\t".join(
                [
                    f"Epoch: [{e}][{i + 1:3d}/391]",
                    f"Time {0.31:6.3f} ({0.35:6.3f})",
                    f"Data {0.01:6.3f} ({0.02:6.3f})",
                    f"Loss {falling(n, 6.9):.4e} ({falling(n, 6.95):.4e})",
                    f"Acc@1 {rising(n):6.2f} ({rising(n, 94):6.2f})",
                    f"Acc@5 {rising(n, 99):6.2f} ({rising(n, 98):6.2f})\n",
                ]
            )
        for i in range(0, 79, 50):
            out += "\t".join(
                [
                    f"Test: [{i + 1:2d}/79]",
                    f"Time {0.2:6.3f} ({0.25:6.3f})",
                    f"Loss {falling(e + i, 6):.4e} ({falling(e, 6):.4e})",
                    f"Acc@1 {rising(e):6.2f} ({rising(e, 90):6.2f})",
                    f"Acc@5 {rising(e, 97):6.2f} ({rising(e, 96):6.2f})\n",
                ]
            )
        out += f" *   Acc@1 {70.1 + e:.3f} Acc@5 {90.2 + e:.3f}\n"
    return out


def mnist() -> str:
    """pytorch/examples mnist."""
    out = ""
    for e in range(1, 4):
        for i in range(0, 938, 200):
            out += (
                f"Train Epoch: {e} [{i * 64}/60000 ({100.0 * i / 938:.0f}%)]\tLoss: {falling(e * 5 + i // 200):.6f}\n"
            )
        out += f"\nTest set: Average loss: {0.06 - e / 100:.4f}, Accuracy: {9800 + e}/10000 ({98 + e / 10:.0f}%)\n\n"
    return out


def metric_logger() -> str:
    """torchvision's and DETR's MetricLogger."""
    out = "Not using distributed mode\nStart training\n"
    for e in range(2):
        for i in range(0, 60, 20):
            n = e * 3 + i // 20
            out += (
                f"Epoch: [{e}]  [{i:2d}/60]  eta: 0:01:{59 - i:02d}  lr: {0.0001:.6f}  "
                f"class_error: {falling(n, 90):.2f}  loss: {falling(n, 30):.4f} ({falling(n, 31):.4f})  "
                f"loss_ce: {falling(n, 3):.4f} ({falling(n, 3.1):.4f})  time: 0.4512  data: 0.0101  max mem: 4021\n"
            )
        out += f"Epoch: [{e}] Total time: 0:00:27 (0.4500 s / it)\n"
        out += (
            f"Averaged stats: lr: 0.000100  class_error: {falling(e, 80):.2f}  loss: {falling(e, 20):.4f} (21.0000)\n"
        )
        for i in range(0, 20, 10):
            out += (
                f"Test:  [{i:2d}/20]  eta: 0:00:10  loss: {falling(e, 25):.4f} ({falling(e, 26):.4f})  "
                f"acc1: {rising(e):.4f} ({rising(e, 94):.4f})  acc5: {rising(e, 99):.4f} ({rising(e, 98):.4f})  "
                "time: 0.3000  data: 0.1000  max mem: 4021\n"
            )
        out += "Test: Total time: 0:00:05 (0.2500 s / it)\n"
        out += f" * Acc@1 {71.5 + e:.3f} Acc@5 {91.5 + e:.3f} loss {1.5 - e / 4:.3f}\n"
        out += f"Accuracy of the network on the 50000 test images: {71.5 + e:.1f}%\nMax accuracy: {71.5 + e:.2f}%\n"
    return out + "Training time 0:01:04\n"


def timm_old() -> str:
    """timm's train.py up to 0.6."""
    out = "Training with a single process on 1 GPUs.\nModel resnet26 created, param count:15995176\n"
    for e in range(3):
        for i in (0, 50, 99):
            n = e * 3 + i // 50
            out += (
                f"Train: {e} [{i:>4d}/100 ({100 * i / 99:>3.0f}%)]  Loss: {falling(n, 6.9):>9.6f} "
                f"({falling(n, 6.95):>6.4f})  Time: {0.512:.3f}s, {250.12:>7.2f}/s  ({0.55:.3f}s, {240.5:>7.2f}/s)  "
                f"LR: {0.05:.3e}  Data: {0.01:.3f} ({0.02:.3f})\n"
            )
        for i in (0, 19):
            out += (
                f"Test: [{i:>4d}/19]  Time: {0.3:.3f} ({0.4:.3f})  Loss:  {falling(e, 5):>7.4f} "
                f"({falling(e, 5.1):>6.4f})  Acc@1: {rising(e):>7.4f} ({rising(e, 90):>7.4f})  "
                f"Acc@5: {rising(e, 99):>7.4f} ({rising(e, 98):>7.4f})\n"
            )
        out += "Current checkpoints:\n" + "".join(
            f" ('./output/train/checkpoint-{k}.pth.tar', {60.5 + k:.2f})\n" for k in range(e, -1, -1)
        )
    return out + "\n*** Best metric: 62.5 (epoch 2)\n"


def timm_new() -> str:
    """timm's train.py since 0.8."""
    out = "Training with a single process on 1 device (cuda:0).\nScheduled epochs: 3. LR stepped per epoch.\n"
    for e in range(3):
        for i in (0, 50, 1250):
            n = e * 3 + i // 50
            out += (
                f"Train: {e} [{i:>4d}/1251 ({100 * i / 1250:>3.0f}%)]  Loss: {falling(n, 6.9):#.3g} "
                f"({falling(n, 6.95):#.3g})  Time: {0.512:.3f}s, {250.12:>7.2f}/s  ({0.55:.3f}s, {240.5:>7.2f}/s)  "
                f"LR: {0.05:.3e}  Data: {0.01:.3f} ({0.02:.3f})\n"
            )
        for i in (0, 97):
            out += (
                f"Test: [{i:>4d}/97]  Time: {0.3:.3f} ({0.4:.3f})  Loss: {falling(e, 5):>7.3f} "
                f"({falling(e, 5.1):>6.3f})  Acc@1: {rising(e):>7.3f} ({rising(e, 90):>7.3f})  "
                f"Acc@5: {rising(e, 99):>7.3f} ({rising(e, 98):>7.3f})\n"
            )
        out += "Current checkpoints:\n" + "".join(
            f" ('./output/train/checkpoint-{k}.pth.tar', {60.5 + k:.3f})\n" for k in range(e, -1, -1)
        )
    return out + "*** Best metric: 62.5 (epoch 2)\n"


def swin() -> str:
    """Swin Transformer's main.py: the file its logger writes."""
    out = ""

    def said(line: int, text: str) -> str:
        return f"[2022-05-06 10:{line % 60:02d}:00 swin_tiny_patch4] (main.py {line}): INFO {text}\n"

    out += said(95, "number of params: 28288354") + said(98, "number of GFLOPs: 4.494924")
    out += said(120, "Start training")
    for e in range(2):
        for i in range(0, 100, 20):
            n = e * 5 + i // 20
            out += said(
                210,
                f"Train: [{e}/300][{i}/100]\teta 0:10:{i:02d} lr {0.000001 * n:.6f}\t wd 0.0500\t"
                f"time {0.3:.4f} ({0.4:.4f})\tloss {falling(n, 6.9):.4f} ({falling(n, 6.95):.4f})\t"
                f"grad_norm {1.5 + n:.4f} ({1.6:.4f})\tloss_scale 65536.0000 (65536.0000)\tmem 11000MB",
            )
        out += said(218, f"EPOCH {e} training takes 0:05:00")
        for i in range(0, 40, 10):
            out += said(
                258,
                f"Test: [{i}/40]\tTime 0.200 (0.300)\tLoss {falling(e, 6):.4f} ({falling(e, 6.1):.4f})\t"
                f"Acc@1 {rising(e):.3f} ({rising(e, 90):.3f})\tAcc@5 {rising(e, 99):.3f} ({rising(e, 98):.3f})\t"
                "Mem 11000MB",
            )
        out += said(264, f" * Acc@1 {1.2 + e:.3f} Acc@5 {4.5 + e:.3f}")
        out += said(160, f"Accuracy of the network on the 50000 test images: {1.2 + e:.1f}%")
        out += said(162, f"Max accuracy: {1.2 + e:.2f}%")
    return out


def swav() -> str:
    """SwAV's main_swav.py."""
    out = "INFO - 06/01/21 10:00:00 - 0:00:00 - ============ Starting epoch 0 ... ============\n"
    for e in range(3):
        if e:
            out += f"INFO - 06/01/21 10:0{e}:00 - 0:0{e}:00 - ============ Starting epoch {e} ... ============\n"
        for i in range(0, 150, 50):
            n = e * 3 + i // 50
            out += (
                f"INFO - 06/01/21 10:0{e}:{i // 5:02d} - 0:0{e}:{i // 5:02d} - Epoch: [{e}][{i}]\t"
                f"Time {0.7:.3f} ({0.8:.3f})\tData 0.001 (0.010)\t"
                f"Loss {falling(n, 8):.4f} ({falling(n, 8.1):.4f})\tLr: {0.6 - n / 100:.4f}\n"
            )
    return out


def transfg() -> str:
    """TransFG's train.py."""
    out = "01/02/2022 10:00:00 - INFO - __main__ - ***** Running training *****\n"
    out += "01/02/2022 10:00:00 - INFO - __main__ -   Total optimization steps = 400\n"
    for n in range(1, 5):
        step = n * 100
        said = f"01/02/2022 1{n}:00:00 - INFO - __main__ - "
        out += said + f"train accuracy so far: {rising(n) / 100:f}\n"
        out += said + "***** Running Validation *****\n" + said + "  Num steps = 30\n" + said + "  Batch size = 8\n"
        out += said + "\n" + said + "\n" + said + "Validation Results\n"
        out += said + f"Global Steps: {step}\n" + said + f"Valid Loss: {falling(n):2.5f}\n"
        out += said + f"Valid Accuracy: {rising(n) / 100:2.5f}\n"
        out += said + f"best accuracy so far: {rising(n) / 100:f}\n"
    return out


def hrnet() -> str:
    """HRNet-Image-Classification's function.py."""
    out = "2020-05-01 10:00:00,123 Namespace(cfg='x.yaml', dataDir='')\n"
    for e in range(2):
        for i in range(0, 300, 100):
            n = e * 3 + i // 100
            out += (
                f"2020-05-01 10:00:{i // 10:02d},456 Epoch: [{e}][{i}/300]\tTime 0.500s (0.510s)\tSpeed 256.1 samples/s\t"
                f"Data 0.010s (0.020s)\tLoss {falling(n, 6.9):.5f} ({falling(n, 6.95):.5f})\t"
                f"Accuracy@1 {rising(n):.3f} ({rising(n, 94):.3f})\tAccuracy@5 {rising(n, 99):.3f} ({rising(n, 98):.3f})\t\n"
            )
        out += (
            f"2020-05-01 10:01:00,000 Test: Time 0.150\tLoss {falling(e, 4):.4f}\tError@1 {100 - rising(e):.3f}\t"
            f"Error@5 {100 - rising(e, 99):.3f}\tAccuracy@1 {rising(e):.3f}\tAccuracy@5 {rising(e, 99):.3f}\t\n"
        )
        out += "2020-05-01 10:01:01,000 => saving checkpoint to output/imagenet\n"
    return out


def wide_resnet() -> str:
    """wide-resnet.pytorch's main.py, which rewrites its line."""
    out = "| Building net type [wide-resnet]...\n| Wide-Resnet 28x10\n\n[Phase 3] : Training model\n"
    out += "| Training Epochs = 200\n| Initial Learning Rate = 0.1\n| Optimizer = SGD\n"
    for e in range(1, 4):
        out += f"\n=> Training Epoch #{e}, LR={0.1:.4f}\n"
        for i in range(0, 391, 130):
            out += "\r"
            out += (
                f"| Epoch [{e:3d}/{200:3d}] Iter[{i + 1:3d}/{391:3d}]\t\tLoss: {falling(e * 4 + i // 130):.4f} "
                f"Acc@1: {rising(e * 4 + i // 130):.3f}%"
            )
        out += f"\n| Validation Epoch #{e}\t\t\tLoss: {falling(e):.4f} Acc@1: {rising(e):.2f}%\n"
        out += f"| Saving Best model...\t\t\tTop1 = {rising(e):.2f}%\n" + f"| Elapsed time : 0:0{e}:10\n"
    return out


def _progress_bar(current: int, total: int, message: str) -> str:
    done = int(CIFAR_BAR * current / total)
    rest = int(CIFAR_BAR - done) - 1
    out = " [" + "=" * done + ">" + "." * rest + "]"
    text = f"  Step: {20 + current}ms | Tot: {2 + current}s{current:03d}ms" + (" | " + message if message else "")
    out += text + " " * (CIFAR_WIDTH - int(CIFAR_BAR) - len(text) - 3)
    out += "\b" * (CIFAR_WIDTH - int(CIFAR_BAR / 2) + 2)
    out += f" {current + 1}/{total} "
    return out + ("\r" if current < total - 1 else "\n")


def cifar_bars() -> bytes:
    """kuangliu's pytorch-cifar: the bytes that `utils.progress_bar` writes."""
    out = "==> Preparing data..\nFiles already downloaded and verified\n==> Building model..\n"
    for e in range(3):
        out += f"\nEpoch: {e}\n"
        for total, seen in ((5, 128), (3, 100)):
            for i in range(total):
                right, count = int(seen * (i + 1) * rising(e) / 100), seen * (i + 1)
                message = f"Loss: {falling(e * 5 + i):.3f} | Acc: {100.0 * right / count:.3f}% ({right}/{count})"
                out += _progress_bar(i, total, message)
        out += "Saving..\n"
    return out.encode()


def cifar_rendered() -> str:
    """The same as a terminal shows it in the end."""
    out = "==> Preparing data..\n==> Building model..\n"
    for e in range(3):
        out += f"\nEpoch: {e}\n"
        for total, seen, i in ((391, 128, e), (100, 100, e + 4)):
            count = seen * total
            out += (
                f" [================================ {total}/{total} ==============================>]  "
                f"Step: 20ms | Tot: 25s345ms | Loss: {falling(i):.3f} | Acc: {rising(i):.3f}% "
                f"({int(count * rising(i) / 100)}/{count})\n"
            )
    return out


def tqdm_only() -> str:
    """tqdm with a postfix, written to a file."""
    out = ""
    for e in range(1, 4):
        for i in range(0, 101, 25):
            bar = "█" * (i // 10) + " " * (10 - i // 10)
            n = e * 4 + i // 25
            out += (
                f"\rEpoch {e}/3: {i:3d}%|{bar}| {i}/100 [00:{i // 5:02d}<00:{20 - i // 5:02d}, {4.98:.2f}it/s, "
                f"loss={falling(n):.4f}, acc={rising(n) / 100:.3f}]"
            )
        out += "\n"
    return out


def mmcv() -> str:
    """mmcv 1's TextLoggerHook."""
    out = "2021-05-06 10:00:00,001 - mmcls - INFO - workflow: [('train', 1)], max: 3 epochs\n"
    for e in range(1, 4):
        for i in range(100, 301, 100):
            n = e * 3 + i // 100
            out += (
                f"2021-05-06 10:0{e}:{i // 10:02d},001 - mmcls - INFO - Epoch [{e}][{i}/300]\tlr: 1.000e-01, eta: 0:0{e}:10, "
                f"time: 0.350, data_time: 0.010, memory: 3000, loss: {falling(n):.4f}, top-1: {rising(n):.4f}\n"
            )
        out += f"2021-05-06 10:0{e}:40,001 - mmcls - INFO - Saving checkpoint at {e} epochs\n"
        out += (
            f"2021-05-06 10:0{e}:50,001 - mmcls - INFO - Epoch(val) [{e}][79]\taccuracy_top-1: {rising(e):.4f}, "
            f"accuracy_top-5: {rising(e, 99):.4f}\n"
        )
    return out


def mmengine() -> str:
    """mmengine's LoggerHook."""
    out = ""
    for e in range(1, 4):
        for i in range(50, 151, 50):
            n = e * 3 + i // 50
            out += (
                f"2023/02/03 10:0{e}:{i // 10:02d} - mmengine - INFO - Epoch(train)  [{e}][{i:>3d}/150]  "
                f"lr: 1.0000e-02  eta: 0:0{e}:30  time: 0.2010  data_time: 0.0100  memory: 2512  "
                f"grad_norm: {3 - n / 10:.4f}  loss: {falling(n):.4f}  loss_cls: {falling(n, 1.5):.4f}\n"
            )
        out += f"2023/02/03 10:0{e}:30 - mmengine - INFO - Saving checkpoint at {e} epochs\n"
        out += f"2023/02/03 10:0{e}:35 - mmengine - INFO - Epoch(val)  [{e}][20/40]    eta: 0:00:02  time: 0.1  data_time: 0.01  memory: 500\n"
        out += (
            f"2023/02/03 10:0{e}:40 - mmengine - INFO - Epoch(val) [{e}][40/40]    accuracy/top1: {rising(e):.4f}  "
            f"accuracy/top5: {rising(e, 99):.4f}  data_time: 0.0200  time: 0.0900\n"
        )
    return out


def detectron2() -> str:
    """Detectron2's CommonMetricPrinter."""
    out = "[03/01 10:00:00 d2.engine.train_loop]: Starting training from iteration 0\n"
    for n in range(15):
        eta = f"eta: 0:{59 - n:02d}:00  " if n else ""
        out += (
            f"[03/01 10:{n:02d}:30 d2.utils.events]:  {eta}iter: {n * 20 + 19}  total_loss: {falling(n):.4g}  "
            f"loss_cls: {falling(n, 0.9):.4g}  loss_box_reg: {falling(n, 0.8):.4g}  loss_rpn_cls: {falling(n, 0.3):.4g}  "
            f"time: 0.3{n:02d}1  data_time: 0.0121  lr: {1e-4 * (n + 1):.5g}  max_mem: 2000M\n"
        )
    out += "[03/01 10:20:00 d2.evaluation.evaluator]: Inference done 11/50. Dataloading: 0.0010 s/iter. Inference: 0.0500 s/iter. Eval: 0.0002 s/iter. Total: 0.0512 s/iter. ETA=0:00:02\n"
    out += "[03/01 10:20:03 d2.evaluation.evaluator]: Inference done 40/50. Dataloading: 0.0011 s/iter. Inference: 0.0510 s/iter. Eval: 0.0002 s/iter. Total: 0.0523 s/iter. ETA=0:00:00\n"
    out += "[03/01 10:21:00 d2.evaluation.testing]: copypaste: Task: bbox\n"
    out += "[03/01 10:21:00 d2.evaluation.testing]: copypaste: AP,AP50,AP75,APs,APm,APl\n"
    out += "[03/01 10:21:00 d2.evaluation.testing]: copypaste: 20.5000,40.1000,22.2000,5.1000,20.0000,30.0000\n"
    return out


def yolox() -> str:
    """YOLOX's Trainer, with loguru's prefix."""
    out = ""
    for e in range(1, 4):
        said = "2022-01-02 10:00:00 | INFO     | yolox.core.trainer:{}:{} - "
        out += said.format("before_epoch", 195) + f"---> start train epoch{e}\n"
        for i in range(10, 41, 10):
            n = e * 4 + i // 10
            out += said.format("after_iter", 254) + (
                f"epoch: {e}/300, iter: {i}/40, gpu mem: 2000Mb, mem: 18.0Gb, iter_time: 0.312s, data_time: 0.002s, "
                f"total_loss: {falling(n, 12):.1f}, iou_loss: {falling(n, 4):.1f}, l1_loss: 0.0, "
                f"conf_loss: {falling(n, 6):.1f}, cls_loss: {falling(n, 1.5):.1f}, lr: {1e-5 * n:.3e}, size: 640, "
                f"ETA: 1:00:{i:02d}\n"
            )
        out += said.format("save_ckpt", 340) + "Save weights to ./YOLOX_outputs/yolox_s\n"
    return out


def yolov5() -> str:
    """YOLOv5's and YOLOv8's standard output."""
    out = "\nhyperparameters: lr0=0.01, lrf=0.01, momentum=0.937, weight_decay=0.0005\n"
    out += "                 from  n    params  module                                  arguments\n"
    out += "  0                -1  1      3520  models.common.Conv                      [3, 32, 6, 2, 2]\n"
    out += "  1                -1  1     18560  models.common.Conv                      [32, 64, 3, 2]\n"
    out += "Model summary: 214 layers, 7235389 parameters, 7235389 gradients, 16.6 GFLOPs\n\nStarting training for 3 epochs...\n"
    for e in range(3):
        out += "\n      Epoch    GPU_mem   box_loss   cls_loss   dfl_loss  Instances       Size\n"
        for p in (0, 50, 100):
            bar = "█" * (p // 10) + " " * (10 - p // 10)
            out += (
                f"\r        {e + 1}/3      3.52G     {falling(e, 1.2):.3f}      {falling(e, 3):.3f}      {falling(e, 1.4):.3f}"
                f"         55        640: {p:3d}%|{bar}| {p * 8 // 100}/8 [00:0{p // 20}<00:05,  1.5it/s]"
            )
        out += "\n                 Class     Images  Instances      Box(P          R      mAP50  mAP50-95): 100%|██████████| 4/4 [00:02<00:00,  1.9it/s]\n"
        out += f"                   all        128        929      {0.6 + e / 50:.3f}      {0.5 + e / 50:.3f}      {0.6 + e / 40:.3f}      {0.4 + e / 40:.3f}\n"
    out += "\n3 epochs completed in 0.010 hours.\nOptimizer stripped from runs/train/exp/weights/last.pt, 14.9MB\n"
    return out


def darknet() -> str:
    """darknet's detector train."""
    out = "yolov3-tiny\nlayer     filters    size              input                output\n"
    out += "    0 conv     16  3 x 3 / 1   416 x 416 x   3   ->   416 x 416 x  16  0.150 BFLOPs\n"
    out += "    1 max          2 x 2 / 2   416 x 416 x  16   ->   208 x 208 x  16\n"
    out += "Learning Rate: 0.001, Momentum: 0.9, Decay: 0.0005\nResizing\n416\nLoaded: 0.000031 seconds\n"
    for i in range(1, 9):
        out += (
            f"Region 16 Avg IOU: 0.2{i}0000, Class: 0.5{i}1111, Obj: 0.4{i}0000, No Obj: 0.47{i}000, .5R: 0.000000, "
            ".75R: 0.000000,  count: 8\n"
        )
        out += (
            f"{i}: {falling(i, 400):f}, {falling(i, 410):f} avg, {0.001:f} rate, {3.2 + i / 10:f} seconds, "
            f"{i * 64} images\n"
        )
    return out


def caffe() -> str:
    """caffe train, as glog writes it."""
    out = "I0301 10:00:00.123456  4242 solver.cpp:280] Solving LeNet\n"
    out += "I0301 10:00:00.123456  4242 solver.cpp:281] Learning Rate Policy: inv\n"
    for i in range(0, 601, 100):
        n = i // 100
        said = f"I0301 10:00:{n:02d}.123456  4242 "
        if i % 200 == 0:
            out += said + f"solver.cpp:337] Iteration {i}, Testing net (#0)\n"
            out += said + f"solver.cpp:404]     Test net output #0: accuracy = {rising(n) / 100:.4f}\n"
            out += (
                said
                + f"solver.cpp:404]     Test net output #1: loss = {falling(n):.5f} (* 1 = {falling(n):.5f} loss)\n"
            )
        out += said + f"solver.cpp:228] Iteration {i} (58.1 iter/s, 1.72s/100 iters), loss = {falling(n, 2.4):.6f}\n"
        out += (
            said
            + f"solver.cpp:244]     Train net output #0: loss = {falling(n, 2.4):.6f} (* 1 = {falling(n, 2.4):.6f} loss)\n"
        )
        out += said + f"sgd_solver.cpp:106] Iteration {i}, lr = {0.01 / (n + 1):.6f}\n"
    return out + "I0301 10:01:00.123456  4242 solver.cpp:322] Optimization Done.\n"


def mxnet() -> str:
    """MXNet's Module.fit with a Speedometer."""
    out = "INFO:root:start with arguments Namespace(batch_size=128, lr=0.05)\n"
    for e in range(3):
        for i in range(20, 81, 20):
            out += f"INFO:root:Epoch[{e}] Batch [{i}]\tSpeed: 2210.51 samples/sec\taccuracy={rising(e * 4 + i // 20) / 100:f}\n"
        out += f"INFO:root:Epoch[{e}] Train-accuracy={rising(e) / 100:f}\n"
        out += f"INFO:root:Epoch[{e}] Time cost={9.5 + e:.3f}\n"
        out += f"INFO:root:Epoch[{e}] Validation-accuracy={rising(e, 90) / 100:f}\n"
    return out


def chainer() -> str:
    """Chainer's PrintReport below what the script prints."""
    out = "GPU: 0\n# unit: 1000\n# Minibatch-size: 100\n# epoch: 5\n\n"
    out += "epoch       main/loss   validation/main/loss  main/accuracy  validation/main/accuracy  elapsed_time\n"
    for e in range(1, 6):
        cells = (falling(e, 1), falling(e, 0.9), rising(e) / 100, rising(e, 94) / 100, 10.123 * e)
        widths = (10, 20, 13, 24, 12)
        out += f"{e:<10d}  " + "  ".join(f"{c:<{w}.6g}" for c, w in zip(cells, widths, strict=True)) + "\n"
    return out


def paddle_clas() -> str:
    """PaddleClas 2's engine."""
    out = ""
    for e in range(1, 4):
        said = f"[2021/11/0{e} 10:00:00] root INFO: "
        for i in range(0, 100, 50):
            n = e * 2 + i // 50
            out += said + (
                f"[Train][Epoch {e}/10][Iter: {i}/100]lr: {0.1:.5f}, top1: {rising(n) / 100:.5f}, "
                f"top5: {rising(n, 99) / 100:.5f}, loss: {falling(n):.5f}, batch_cost: 0.10231s, reader_cost: 0.01023, "
                f"ips: 1251.11 images/sec, eta: 0:0{e}:20\n"
            )
        out += (
            said
            + f"[Train][Epoch {e}/10][Avg]top1: {rising(e) / 100:.5f}, top5: {rising(e, 99) / 100:.5f}, loss: {falling(e):.5f}\n"
        )
        out += (
            said
            + f"[Eval][Epoch {e}][Iter: 0/20]loss: {falling(e):.5f}, top1: {rising(e) / 100:.5f}, batch_cost: 0.5s, reader_cost: 0.4, ips: 120.0 images/sec\n"
        )
        out += (
            said
            + f"[Eval][Epoch {e}][Avg]loss: {falling(e, 2.2):.5f}, top1: {rising(e, 91) / 100:.5f}, top5: {rising(e, 97) / 100:.5f}\n"
        )
        out += said + f"[Eval][Epoch {e}][best metric: {rising(e, 91) / 100:.6f}]\n"
    return out


def paddle_hapi() -> str:
    """Paddle's `Model.fit(verbose=2)`."""
    out = "The loss value printed in the log is the current step, and the metric is the average value of previous steps.\n"
    for e in range(1, 4):
        out += f"Epoch {e}/3\n"
        for i in range(10, 31, 10):
            n = e * 3 + i // 10
            out += f"step {i}/30 - loss: {falling(n):.4f} - acc: {rising(n) / 100:.4f} - {10 + n}ms/step\n"
        out += "Eval begin...\n"
        out += f"step 5/5 - loss: {falling(e, 2):.4f} - acc: {rising(e, 90) / 100:.4f} - 8ms/step\nEval samples: 500\n"
    return out


def torch7() -> str:
    """fb.resnet.torch's train.lua."""
    out = "=> Creating model from file: models/resnet.lua\n"
    for e in range(1, 4):
        out += "=> Training epoch # " + str(e) + "\n"
        for i in range(1, 5):
            n = e * 4 + i
            out += (
                f" | Epoch: [{e}][{i}/4]    Time {0.3:.3f}  Data {0.01:.3f}  Err {falling(n):1.4f}  "
                f"top1 {100 - rising(n):7.3f}  top5 {100 - rising(n, 99):7.3f}\n"
            )
        for i in range(1, 3):
            out += (
                f" | Test: [{e}][{i}/2]    Time {0.2:.3f}  Data {0.01:.3f}  top1 {100 - rising(e):7.3f} "
                f"({100 - rising(e, 94):7.3f})  top5 {100 - rising(e, 99):7.3f} ({100 - rising(e, 98):7.3f})\n"
            )
        out += f" * Finished epoch # {e}     top1: {100 - rising(e, 94):7.3f}  top5: {100 - rising(e, 98):7.3f}\n\n"
        out += f" * Best model  {100 - rising(e, 94):.3f}  {100 - rising(e, 98):.3f}\n"
    return out


def chinese_rounds() -> str:
    """A script of a Chinese course."""
    out = "使用设备：cuda:0\n训练集大小：50000，测试集大小：10000\n开始训练\n"
    for e in range(1, 6):
        out += f"-----------第 {e} 轮训练开始-----------\n"
        out += f"训练集损失：{falling(e):.4f}，训练集准确率：{rising(e) / 100:.4f}\n"
        out += f"验证集损失：{falling(e, 2.1):.4f}，验证集准确率：{rising(e, 91) / 100:.4f}\n"
    return out + f"最佳准确率：{rising(5, 91) / 100:.4f}\n"


def chinese_epochs() -> str:
    """Another one, with everything on a line."""
    return "开始训练\n" + "".join(
        f"第{e}个epoch的学习率：{0.01 / e:.6f}，训练集准确率：{rising(e):.2f}%，验证集损失：{falling(e, 2.1):.4f}，"
        f"耗时：{12.5 + e:.1f}秒\n"
        for e in range(1, 7)
    )
