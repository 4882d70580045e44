#pragma once

#include "weir/engine/session.hpp"
#include "weir/names.hpp"
#include "weir/state/question.hpp"

namespace weir::engine {

/// Collective. Reads the streams behind a session once more and puts exact values in the place of the estimates in `answer`,
/// which session.answer() has given: values of draws, drawn rows, inclusions; a draw whose value turns out to be zero has
/// failed. Probabilities become those of the exact values, over a sum that stays an estimate. The answer of a session that
/// has verified its draws stays as it is. This is the second pass of 2-pass WORp (Cohen, Pagh, Woodruff 2020, "WOR and
/// p's: sketches for l_p-sampling without replacement", arXiv 2007.06744).
///
/// `sources` are those that the session was opened with, values of fixed operands included. Where it went on from a saved
/// state their stream has to be all that the state has seen: it is sketched once more, to compare.
///
/// Returns the names of the drawn rows of the first operand that streams, where their keys are text, on the root.
///
/// Each rank keeps the rows behind the draws. Throws UsageError when a stream is a pipe, or a fixed operand is not at hand;
/// InputError as reading does, and when the streams are not what they were.
NameTable read_again(Session& session, const Sources& sources, Answer& answer);

}  // namespace weir::engine
