import { equal, ok } from 'node:assert/strict'
import { range } from './conformance-stage.ts'
import { type StoreCase, storeCasesOf } from './store-conformance-case.ts'

/** Bodies that are kept beside their messages. */
export const bodyCases: readonly StoreCase[] = storeCasesOf('bodies', [
  {
    name: 'keeps a body byte by byte for every process, and knows what it does not have',
    async run(stage) {
      const [one, other] = [await stage.open(), await stage.open()]
      const bodies = [Buffer.alloc(0), Buffer.from(range(0, 255)), Buffer.alloc(3 * 1_048_576, 'ü\u0000')]
      for (const [at, body] of bodies.entries()) await one.bodies.put(`body-${at}`, body)
      for (const [at, body] of bodies.entries()) {
        const stored = await other.bodies.get(`body-${at}`)
        ok(stored !== undefined)
        equal(Buffer.compare(stored, body), 0)
      }
      equal(await other.bodies.get('body-9'), undefined)
      // A unit that is repeated puts it again.
      await other.bodies.put('body-1', bodies[1] ?? Buffer.alloc(1))
      equal((await one.bodies.get('body-1'))?.length, 256)
    },
  },
  {
    name: 'removes old bodies alone, no more of them than asked for',
    async run(stage) {
      const { bodies } = await stage.open()
      for (const n of range(1, 5)) await bodies.put(`body-${n}`, Buffer.from('x'))
      equal(await bodies.prune(3_600_000, 100), 0)
      await stage.pause(30)
      equal(await bodies.prune(10, 2), 2)
      const left = await Promise.all(range(1, 5).map((n) => bodies.get(`body-${n}`)))
      equal(left.filter((body) => body !== undefined).length, 3)
      equal(await bodies.prune(10, 100), 3)
      equal(await bodies.prune(0, 100), 0)
    },
  },
])
