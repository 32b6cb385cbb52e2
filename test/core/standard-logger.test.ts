import { expect, test } from 'vitest'
import type { Logger } from '../../src/core/logger.ts'
import { StandardLogger } from '../../src/core/standard-logger.ts'

test('takes every line before it is loaded, and so do its children', () => {
  const logger: Logger = new StandardLogger().child({ service: 'shop' })
  expect(() => {
    for (let line = 0; line < 1_000; line++) logger.warn({ line }, 'early')
    logger.error('text')
    logger.info('text')
    logger.debug({ a: 1 })
    logger.trace('text')
  }).not.toThrow()
})
