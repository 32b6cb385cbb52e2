import { describe, expect, test } from 'vitest'
import type { SagaEvent, SagaEventData, SagaEventKind } from '../../src/index.ts'
import { audited, undoableSteps } from '../../src/testing/saga-audit.ts'
import { order } from '../saga/saga-rig.ts'

const undoable = new Set(['a', 'b'])
const one = <K extends SagaEventKind>(kind: K, data: SagaEventData[K]): SagaEvent => ({ kind, data }) as SagaEvent
const begun = (run: string, attempt = 1): SagaEvent => one('step-started', { step: run, run, attempt })
const done = (run: string): SagaEvent => one('step-completed', { run })
const undoing = (run: string, attempt = 1): SagaEvent => one('compensation-started', { run, attempt })
const undone = (run: string): SagaEvent => one('compensation-completed', { run })
const fails = one('compensation-begun', { outcome: 'compensated', reason: 'no' })
const ended = (outcome: 'compensated' | 'completed' | 'failed'): SagaEvent => one('ended', { outcome })
const input = (id: string): SagaEvent => one('input-handled', { input: 'message', id, source: 's', type: 't', atMs: 0 })
const unknown = (run: string, failure: 'timed-out' | 'abandoned' | 'refused'): SagaEvent => one('step-failed', { run, failure, reason: 'r' })

describe('the audit of a stream', () => {
  test.each<[string, readonly SagaEvent[]]>([
    ['goes through', [input('1'), begun('a'), done('a'), begun('b'), done('b'), ended('completed')]],
    ['is undone in reverse', [begun('a'), done('a'), begun('b'), unknown('b', 'timed-out'), fails, undoing('b'), undone('b'), undoing('a'), undoing('a', 2), undone('a'), ended('compensated')]],
    ['has nothing to undo of what was refused', [begun('a'), unknown('a', 'refused'), fails, ended('compensated')]],
    ['undoes once more what came late', [begun('a'), unknown('a', 'abandoned'), fails, undoing('a'), undone('a'), ended('compensated'), done('a'), undoing('a'), undone('a'), ended('compensated')]],
    ['undoes once more what came late meanwhile', [begun('a'), unknown('a', 'abandoned'), fails, undoing('a'), done('a'), undone('a'), undoing('a'), undone('a'), ended('compensated')]],
    ['undoes what has a compensation', [begun('x'), done('x'), fails, ended('compensated')]],
    ['undoes what came late after it was given up', [begun('a'), unknown('a', 'abandoned'), undoing('a'), one('compensation-given-up', { run: 'a', reason: 'r' }), done('a'), undoing('a'), undone('a'), fails, ended('compensated')]],
    ['gives up, and fails', [begun('a'), done('a'), fails, undoing('a'), one('compensation-given-up', { run: 'a', reason: 'r' }), ended('failed')]],
  ])('has nothing against one that %s', (_name, events) => {
    expect(audited(events, undoable).problem).toBeUndefined()
  })

  test.each<[string, readonly SagaEvent[]]>([
    ['the message t was handled twice', [input('1'), input('1')]],
    ['try 1 of a was begun twice', [begun('a'), begun('a')]],
    ['a completed twice', [begun('a'), done('a'), done('a')]],
    ['it ended as compensated, and a was not undone', [begun('a'), done('a'), fails, ended('compensated')]],
    ['it ended as compensated, and a was not undone', [begun('a'), unknown('a', 'timed-out'), fails, ended('compensated')]],
    ['it ended as completed, and b was not undone', [begun('a'), begun('b'), done('a'), unknown('b', 'abandoned'), ended('completed')]],
    ['it ended as compensated, and a was not undone', [begun('a'), unknown('a', 'abandoned'), fails, undoing('a'), done('a'), undone('a'), ended('compensated')]],
    ['a was undone before b, which took effect after it', [begun('a'), done('a'), begun('b'), done('b'), fails, undoing('a')]],
    ['a was undone, and there was nothing of it to undo', [begun('a'), unknown('a', 'refused'), fails, undoing('a')]],
    ['it ended as compensated, though a could not be undone', [begun('a'), done('a'), fails, undoing('a'), one('compensation-given-up', { run: 'a', reason: 'r' }), ended('compensated')]],
  ])('says: %s', (problem, events) => {
    expect(audited(events, undoable).problem).toBe(problem)
  })

  test('knows from a definition what can be undone', () => {
    expect([...undoableSteps(order.shape)]).toEqual(['reserve', 'charge'])
  })
})
