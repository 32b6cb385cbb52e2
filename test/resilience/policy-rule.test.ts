import { expect, test } from 'vitest'
import { type Policy, circuitBreaker, policyRule, timeout } from '../../src/index.ts'
import { RuleBook } from '../../src/resilience/policy-rule.ts'
import { Quote, Reserve } from '../bus/bus-rig.ts'

test('the nearest rule wins, and a function makes one policy for each contract', () => {
  const [own, context] = [timeout(1), timeout(2)]
  const book = new RuleBook('asks', [policyRule('*', () => circuitBreaker()), policyRule('pricing.*', context), policyRule(Quote, own)])
  expect(book.policyOf(Quote)).toBe(own)
  expect(book.policyOf({ ...Quote, type: 'pricing.other' })).toBe(context)
  const reserve = book.policyOf(Reserve)
  expect(book.policyOf(Reserve)).toBe(reserve)
  expect(book.policyOf({ ...Reserve, type: 'stock.other' })).not.toBe(reserve)
  expect(new RuleBook('asks', []).policyOf(Quote)).toBeUndefined()
})

test.each(['pricing', 'Pricing.*', '**', 'pricing.*.x', ''])('%s matches nothing and is refused', (pattern) => {
  expect(() => policyRule(pattern, timeout(1))).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})

test('two rules for the same, and what is no policy, are refused', () => {
  expect(() => new RuleBook('asks', [policyRule(Quote, timeout(1)), policyRule('pricing.quote', timeout(2))])).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => policyRule('*', 5 as unknown as Policy)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
  expect(() => policyRule('*', () => 5 as unknown as Policy).policyFor(Quote)).toThrow(expect.objectContaining({ code: 'core.option_invalid' }))
})
