import Basics

extension SwiftletError {
  /// A failure of the driver, with what to do about it.
  ///
  /// - Parameters:
  ///   - status: a CUresult other than 0.
  ///   - what: what was being done.
  ///   - reason: the driver's words.
  static func cuda(_ status: Int32, _ what: String, reason: String) -> SwiftletError {
    if status == 2 {
      return SwiftletError(
        .outOfMemory, "\(what): the GPU's memory is full",
        remedy: "End what else uses the GPU (nvidia-smi lists it), or lower memory_budget, "
          + "per_device_train_batch_size or max_seq_length.")
    }
    let trouble = CUDATrouble(status)
    return SwiftletError(.unavailable, "\(what): \(reason) (CUDA error \(status))", remedy: trouble.remedy)
  }
}

/// What a CUresult means for the user.
private enum CUDATrouble {
  case noDevice, stubLibrary, notReady, driverMismatch, compatibilityLibrary, taken, image, lost, other

  /// Numbers of CUresult.
  init(_ status: Int32) {
    self =
      switch status {
      case 34: .stubLibrary
      case 46: .taken
      case 100, 101: .noDevice
      case 200, 209, 218, 222: .image
      // Uncorrectable memory, NVLink, kernels that failed or took too long, a GPU that fell off the bus, unknown.
      case 214, 220, 700, 702, 710, 714...719, 999: .lost
      case 802: .notReady
      case 803: .driverMismatch
      case 804: .compatibilityLibrary
      default: .other
      }
  }

  var remedy: String {
    switch self {
    case .noDevice: "Choose the device cpu; `nvidia-smi` lists GPUs, CUDA_VISIBLE_DEVICES hides them."
    case .stubLibrary: "libcuda.so.1 is the toolkit's stub: take its folder off LD_LIBRARY_PATH."
    case .notReady: "The GPUs' fabric manager does not run: sudo systemctl start nvidia-fabricmanager."
    case .driverMismatch: "The driver was updated while in use: restart the machine."
    case .compatibilityLibrary:
      "Take CUDA's compat folder off LD_LIBRARY_PATH: this GPU needs its own driver's libcuda."
    case .taken:
      "Another process has this GPU to itself: end it (nvidia-smi lists it), or choose another cuda:N."
    case .image:
      "Remove \(KernelCompiler.defaultCacheFolder) and start again; if that does not help, update the driver."
    case .lost:
      "The GPU can no longer be used by this process: start it again; the last checkpoint is intact. Should it happen "
        + "again, `dmesg` says what the driver saw (Xid)."
    case .other:
      "Start the program again; the last checkpoint is intact. Should it happen again, it is a defect."
    }
  }
}
