"""The GraphQL documents that a webserver is asked."""

LOCATIONS = """
query BenchLocations {
  workspaceOrError {
    ... on Workspace {
      locationEntries {
        name
        loadStatus
        updatedTimestamp
        displayMetadata { key value }
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { serverId repositories { name } }
          ... on PythonError { message causes { message } }
        }
      }
    }
    ... on PythonError { message }
  }
}
"""

ASSETS = """
query BenchAssets($selector: RepositorySelector!) {
  repositoryOrError(repositorySelector: $selector) {
    ... on Repository { assetNodes { assetKey { path } isMaterializable isPartitioned } }
    ... on PythonError { message }
    ... on RepositoryNotFoundError { message }
  }
}
"""

PARTITIONS = """
query BenchPartitions($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode { partitionKeys }
  }
}
"""

SUBMIT = """
mutation BenchSubmit($executionParams: ExecutionParams!) {
  launchPipelineExecution(executionParams: $executionParams) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on InvalidStepError { invalidStepKey }
    ... on InvalidOutputError { stepKey invalidOutputName }
    ... on RunConfigValidationInvalid { errors { __typename message path reason } }
    ... on Error { message }
  }
}
"""

SELECTION = """
query BenchSelection($selector: PipelineSelector!) {
  pipelineOrError(params: $selector) {
    __typename
    ... on InvalidSubsetError { message }
    ... on PipelineNotFoundError { message }
    ... on PythonError { message }
  }
}
"""

BACKFILL = """
mutation BenchBackfill($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on PartitionSetNotFoundError { message }
    ... on PartitionKeysNotFoundError { message }
  }
}
"""

OPEN_BACKFILLS = """
query BenchOpenBackfills {
  backfills: partitionBackfillsOrError(filters: {statuses: [REQUESTED]}) {
    __typename
    ... on PartitionBackfills { results { id tags { key value } } }
    ... on PythonError { message }
  }
}
"""

CANCEL_BACKFILL = """
mutation BenchCancelBackfill($backfillId: String!) {
  cancelPartitionBackfill(backfillId: $backfillId) {
    __typename
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""

TICKS = {
    "schedule": """
query BenchScheduleTicks($selector: ScheduleSelector!) {
  instigator: scheduleOrError(scheduleSelector: $selector) {
    ... on Schedule { state: scheduleState { ticks(limit: 10) { timestamp status runIds } } }
  }
}
""",
    "sensor": """
query BenchSensorTicks($selector: SensorSelector!) {
  instigator: sensorOrError(sensorSelector: $selector) {
    ... on Sensor { state: sensorState { ticks(limit: 10) { timestamp status runIds } } }
  }
}
""",
}

TERMINATE = """
mutation BenchTerminate($runId: String!) {
  terminateRun(runId: $runId) {
    __typename
    ... on TerminateRunFailure { message }
    ... on Error { message }
  }
}
"""

START_SCHEDULE = """
mutation BenchStartSchedule($selector: ScheduleSelector!) {
  answer: startSchedule(scheduleSelector: $selector) {
    __typename
    ... on ScheduleStateResult { scheduleState { id } }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on ScheduleNotFoundError { message }
  }
}
"""

STOP_SCHEDULE = """
mutation BenchStopSchedule($id: String!) {
  answer: stopRunningSchedule(id: $id) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
    ... on ScheduleNotFoundError { message }
  }
}
"""

FORCE_TERMINATE = """
mutation BenchForceTerminate($runId: String!) {
  terminateRun(runId: $runId, terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename }
}
"""
