import { BulkheadRejectedError, bulkhead as cockatielBulkhead } from 'cockatiel'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { bulkhead } from '../../src/index.ts'
import { OpenCall, TwoClocks, Watched } from './policy-rig.ts'

// The oracle is cockatiel. Different on purpose, and not compared: a slot that becomes free goes straight to the first one that waits; there it is
// free for a moment, in which a new call can take it and the one that waited is refused or put back. Here every step is settled before the next.

type Step = { readonly kind: 'start' } | { readonly kind: 'end'; readonly which: number; readonly fails: boolean }

const steps = fc.array(
  fc.oneof(
    { arbitrary: fc.constant<Step>({ kind: 'start' }), weight: 3 },
    { arbitrary: fc.record({ kind: fc.constant<'end'>('end'), which: fc.nat(), fails: fc.boolean() }), weight: 2 },
  ),
  { maxLength: 60 },
)

test('lets in, keeps waiting and refuses as cockatiel does', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 4 }), steps, async (inFlightMax, waitingMax, sequence) => {
      using clocks = new TwoClocks()
      const ours = bulkhead({ inFlightMax, waitingMax })
      const theirs = cockatielBulkhead(inFlightMax, waitingMax)
      const calls: { mine: OpenCall; other: OpenCall; mineSeen: Watched; otherSeen: Watched }[] = []
      for (const step of sequence) {
        if (step.kind === 'start') {
          const [mine, other] = [new OpenCall(), new OpenCall()]
          calls.push({
            mine, other,
            mineSeen: new Watched(ours.run(mine.work, { host: clocks.host })),
            otherSeen: new Watched(theirs.execute(({ signal }) => other.work(signal)).catch((error: unknown) => Promise.reject(error instanceof BulkheadRejectedError ? new Error('resilience.bulkhead_full') : error))),
          })
        } else {
          const begun = calls.filter(({ mine, mineSeen }) => mine.signal !== undefined && mineSeen.outcome === 'pending')
          const ended = begun[step.which % Math.max(1, begun.length)]
          for (const one of [ended?.mine, ended?.other]) {
            if (step.fails) one?.reject(new Error('failed'))
            else one?.resolve('done')
          }
        }
        await clocks.advance(0)
        expect([ours.inFlight, ours.waiting]).toEqual([inFlightMax - theirs.executionSlots, waitingMax - theirs.queueSlots])
        expect(calls.map(({ mine, mineSeen }) => [mine.signal !== undefined, mineSeen.outcome])).toEqual(calls.map(({ other, otherSeen }) => [other.signal !== undefined, otherSeen.outcome]))
      }
    }),
    { numRuns: 60 },
  )
}, 120_000)
