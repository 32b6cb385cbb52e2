import type * as fs from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Workplace } from './sqlite-rig.ts'

const NFS = 0x6969

vi.mock('node:fs', async (load) => ({ ...(await load<typeof fs>()), statfsSync: () => ({ type: NFS }) }))

let place: Workplace
beforeEach(() => {
  place = new Workplace()
})
afterEach(() => place.clean())

test('L-06: a file on a network file system is refused, unless that was allowed', async () => {
  await expect(place.transport()).rejects.toMatchObject({ code: 'bus.unsupported', details: { capability: 'a file on a network file system' } })
  await place.transport({ networkFile: 'allow' })
})
