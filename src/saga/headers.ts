import type { SagaParent } from './saga-events.ts'
import type { Act } from './step-plan.ts'
import type { Turn } from './turn.ts'

/** Header of the message that starts a sub-saga. */
const PARENT = 'saga-parent'

/** Headers of what a run sends: a sub-saga gets to know whom to tell its end. */
export function sagaHeaders(turn: Turn, act: Act, run: string): Readonly<Record<string, string>> | undefined {
  if (!act.isSubSaga) return undefined
  const parent: SagaParent = { saga: turn.saga.name, instance: turn.moment.instance, run }
  return { [PARENT]: encodeURIComponent(JSON.stringify([parent.saga, parent.instance, parent.run])) }
}

/** Who waits for the end of what a message starts; undefined also for a header that is none of ours. */
export function parentOf(headers: Readonly<Record<string, string>> | undefined): SagaParent | undefined {
  const text = headers?.[PARENT]
  if (text === undefined) return undefined
  try {
    const parts: unknown = JSON.parse(decodeURIComponent(text))
    const texts: readonly string[] = Array.isArray(parts) ? parts.filter((part) => typeof part === 'string') : []
    const [saga, instance, run] = texts
    return saga === undefined || instance === undefined || run === undefined ? undefined : { saga, instance, run }
  } catch {
    return undefined
  }
}
