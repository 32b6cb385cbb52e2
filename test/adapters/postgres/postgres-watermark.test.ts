import { expect, test } from 'vitest'
import type { PgRow } from '../../../src/adapters/postgres/postgres-client.ts'
import type { PgStatement } from '../../../src/adapters/postgres/postgres-rows.ts'
import { PgWatermark } from '../../../src/adapters/postgres/postgres-watermark.ts'
import { seededRandom } from '../../../src/core/random.ts'
import { virtualClock } from '../../../src/testing/virtual-clock.ts'

interface Look {
  readonly whole: number
  readonly last: number
  readonly holders?: readonly string[]
  readonly given?: number
}

/** A watermark over answers that a test gives. */
class WatermarkRig {
  readonly statements: string[] = []
  answers: Look[] = []
  lostCount = 0
  readonly mark = new PgWatermark({
    executor: {
      run: (statement: PgStatement): Promise<readonly PgRow[]> => {
        this.statements.push(statement.text)
        const { whole, last, holders, given = last } = this.answers.shift() ?? { whole: 0, last: 0 }
        return Promise.resolve([{ standby: false, whole: `${whole}`, last: `${last}`, given: `${given}`, holders: holders ?? null, categories: null }])
      },
    },
    schema: '"trunkline"', clock: virtualClock(), random: seededRandom(1), hearsOthers: () => true, idlePollMs: 1_000, lostCount: () => this.lostCount,
  })

  async looks(...answers: Look[]): Promise<readonly bigint[]> {
    this.answers = answers
    const marks: bigint[] = []
    while (this.answers.length > 0) marks.push(await this.mark.look())
    return marks
  }
}

test('sees events and who may still fill a gap in one statement, and therefore from one moment', async () => {
  const rig = new WatermarkRig()
  await rig.looks({ whole: 3, last: 5, holders: ['4/17'] })
  expect(rig.statements).toHaveLength(1)
  expect(rig.statements[0]).toMatch(/FROM "trunkline"\.event [\s\S]*FROM pg_catalog\.pg_locks/)
})

test('passes a gap when those who held the lock behind the look have ended, whoever has come since', async () => {
  const rig = new WatermarkRig()
  expect(await rig.looks({ whole: 3, last: 5, holders: ['a', 'b'] }, { whole: 3, last: 7, holders: ['b', 'c'] }, { whole: 3, last: 9, holders: ['c', 'd'] })).toEqual([3n, 3n, 5n])
})

test('begins anew where the log is shorter than it was, and where the link was lost', async () => {
  const rig = new WatermarkRig()
  expect(await rig.looks({ whole: 100, last: 100 })).toEqual([100n])
  const { generation } = rig.mark
  await expect(rig.looks({ whole: 3, last: 3, given: 20 })).rejects.toMatchObject({ code: 'store.down' })
  expect([rig.mark.safe, rig.mark.generation]).toEqual([0n, generation + 1])
  expect(await rig.looks({ whole: 20, last: 20 })).toEqual([20n])
  // As many positions were given out there as here, so that nothing but the link tells.
  rig.lostCount++
  expect(await rig.looks({ whole: 3, last: 5, holders: ['a'], given: 20 })).toEqual([3n])
  expect(rig.mark.generation).toBe(generation + 2)
})
