import { z } from 'zod'
import { memory, memoryBroker } from '../src/adapters/memory/index.ts'
import { type SagaDefinition, type Store, command, createBus, event, runSagas, saga } from '../src/index.ts'
import { Counter, windowed } from './measure.ts'

const schema = z.object({ orderId: z.string().max(60), cents: z.int() })
const key = ({ orderId }: { readonly orderId: string }): string => orderId

export const Begun = event('bench.begun', { schema, key })
export const Answered = event('bench.answered', { schema, key })
const Ask = command('bench.ask-somebody', { schema, key })

/** Waits for 30 days for an answer. */
export const waiting: SagaDefinition = saga('waiting', { state: schema })
  .startedBy(Begun, { correlate: key, state: (data) => data })
  .step('ask', { timeoutMs: 30 * 86_400_000 }, (step) => step.send(Ask, (state) => state).on(Answered, { correlate: key }))
  .end()

/** Starts instances that wait. */
export async function fillWaiting(store: Store<unknown>, count: number, progress: (text: string) => void): Promise<void> {
  const broker = memoryBroker()
  const bus = createBus({ service: { name: 'bench' }, transport: memory({ broker }), outbox: store.outbox })
  const others = createBus({ service: { name: 'others' }, transport: memory({ broker }) })
  const made = new Counter()
  let left = count
  runSagas({ bus, store, sagas: [waiting] }).observe(({ kind }) => {
    if (kind !== 'started') return
    made.tick()
    if (--left % 1_000 === 0) progress(`${left} instances are left to be made`)
  })
  others.handle(Ask, () => {})
  await others.start()
  await bus.start()
  const all = made.expect(count)
  await windowed(count, 256, (index) => others.publish(Begun, { orderId: `o-${index}`, cents: index }))
  await all
  await bus.stop()
  await others.stop()
}
