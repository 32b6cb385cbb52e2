import { expect, test } from 'vitest'
import { rejection } from '../bus/bus-rig.ts'
import { jsonOf } from '../../src/gateway/json-body.ts'

test('a body that never ends is refused when it is too large, and its sender is told to stop', async () => {
  let made = 0
  let isCancelled = false
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      made++
      // Far beyond the limit it ends, so that a broken limit fails and does not hang.
      if (made > 1_000) controller.close()
      else controller.enqueue(Buffer.alloc(1_000, ' '))
    },
    cancel() { isCancelled = true },
  })
  const request = new Request('http://shop.test/', { method: 'POST', headers: { 'content-type': 'application/json' }, body, duplex: 'half' })
  expect(await rejection(jsonOf(request, 'a.b', 5_000))).toMatchObject({ code: 'contract.payload_too_large', details: { bytes: 6_000 } })
  expect(made).toBeLessThan(10)
  expect(isCancelled).toBe(true)
})

test('no body at all is none', async () => {
  expect(await jsonOf(new Request('http://shop.test/', { method: 'POST' }), 'a.b', 100)).toBeUndefined()
})
