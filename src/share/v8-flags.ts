/** Settings of V8 for the threads of shares. Import this module before a thread starts. */
import { setFlagsFromString } from 'node:v8'

export const V8_FLAGS: readonly string[] = [
  // A share makes little garbage, collected in half a millisecond; helper threads would first have to get a processor.
  '--no-parallel-scavenge',
  // A request passes some sixty small functions. V8's default (920) stops inlining halfway, and GETATTR takes 5 % longer.
  '--max-inlined-bytecode-size-cumulative=4000',
]

for (const flag of V8_FLAGS) setFlagsFromString(flag)
