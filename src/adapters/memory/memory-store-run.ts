import { TrunklineError } from '../../core/errors.ts'
import type { TransactOptions } from '../../outbox/port.ts'
import type { MemoryData } from './memory-store-data.ts'
import { MemoryStaging } from './memory-store-staging.ts'

const TIMEOUT_MS = 30_000

/**
 * Runs `work` in one transaction, when it is its turn, and commits. `origin` is the store that does it.
 *
 * @throws what `work` throws, the signal's reason, `store.conflict` where its turn did not come in time, `outbox.unit_too_long`
 *   where it did not end in time: what it does after that is refused.
 */
export async function runStaged<T>(data: MemoryData, origin: object, options: TransactOptions, work: (staging: MemoryStaging) => Promise<T>): Promise<T> {
  const { signal, timeoutMs = TIMEOUT_MS } = options
  const { clock } = data
  const startMs = clock.monotonicMs()
  await data.gate.enter({ clock, timeoutMs, signal })
  const staging = new MemoryStaging(data, origin)
  const over = Promise.withResolvers<never>()
  const timer = clock.setTimer(timeoutMs - (clock.monotonicMs() - startMs), () => {
    over.reject(new TrunklineError('outbox.unit_too_long', { store: 'memory', limitMs: timeoutMs }))
  })
  const giveUp = (): void => over.reject(signal?.reason)
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    // It may have aborted in the moment in which the turn was given.
    signal?.throwIfAborted()
    const result = await Promise.race([work(staging), over.promise])
    staging.commit()
    return result
  } finally {
    timer.cancel()
    signal?.removeEventListener('abort', giveUp)
    staging.end()
  }
}
