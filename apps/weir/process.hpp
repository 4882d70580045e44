#pragma once

namespace weir::app {

/// Opens /dev/null in place of the standard descriptors (0, 1, 2) that are closed, so that no file that is opened later
/// gets their number and is written to by mistake. Reading from such a 0 and writing to such a 1 fail, so that the loss
/// is reported; what is written to such a 2 is lost. Call before anything opens a file.
void open_closed_descriptors() noexcept;

/// Sets what signals do. HUP, INT, TERM and XCPU remove the temporary files of this process, then end it as they do
/// without a handler; one that is ignored (nohup) stays so. XFSZ is ignored, so that writing a file that is too large
/// fails, with a message, in place of ending the process. To be called again after a library that may have set its own
/// handlers.
void handle_signals() noexcept;

}  // namespace weir::app
